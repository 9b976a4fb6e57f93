"""The optimisers, a file each; its ``make`` gives one for an injected model."""
