"""The page: a Gradio app over the queue and the engine's torch-free modules."""
