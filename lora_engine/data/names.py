"""What columns are usually called, in English and Chinese."""

import unicodedata

KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "messages": (
        *("messages", "conversations", "conversation", "dialogue", "dialog", "dialogs", "chat"),
        *("chats", "turns", "对话", "消息", "会话", "聊天", "多轮对话", "聊天记录", "對話"),
    ),
    "instruction": (*("instruction", "instructions", "指令", "指示", "任务指令", "任务说明"),),
    "prompt": (
        *("prompt", "prompts", "question", "questions", "query", "user", "human", "request", "q"),
        *("usermessage", "问题", "提问", "提示", "提示词", "问", "用户", "问句", "用户输入"),
        *("问题描述", "問題", "提問", "用戶"),
    ),
    "input": (
        *("input", "inputs", "context", "sourcetext"),
        *("输入", "输入内容", "上下文", "背景", "原文", "輸入"),
    ),
    "answer": (
        *("completion", "completions", "output", "outputs", "response", "responses", "answer"),
        *("answers", "reply", "assistant", "bot", "gpt", "target", "targettext", "chosen", "a"),
        *("modelanswer", "回答", "答案", "输出", "回复", "答", "补全", "应答", "答复", "助手"),
        *("参考答案", "译文", "輸出", "回覆"),
    ),
    "system": (
        *("system", "systemprompt", "systemmessage", "systemtext", "persona"),
        *("系统", "系统提示", "系统提示词", "系统消息", "人设", "系統", "系統提示"),
    ),
    "history": ("history", "previousturns", "历史", "历史对话", "对话历史", "歷史"),
    "text": (
        *("text", "texts", "content", "document", "body", "passage", "sentence", "article"),
        *("story", "paragraph", "review", "文本", "内容", "正文", "文章", "句子", "段落"),
        *("评论", "评价", "文字", "內容"),
    ),
}
"""What headers are usually called, normalised (see ``normalise``); first names win."""

LABEL_NAMES: tuple[str, ...] = (
    *("label", "labels", "class", "classes", "category", "categories", "intent", "intents"),
    *("sentiment", "emotion", "quality", "polarity", "topic", "target", "rating", "stars"),
    *("goldlabel", "isduplicate", "isparaphrase", "标签", "类别", "分类", "意图", "情感"),
    *("情感标签", "情感倾向", "类型", "標籤", "類別"),
)
"""What a column of classes is called; some are also names of answers, so the cells decide."""

LABEL_PARTS = ("label", "sentiment", "category", "intent", "标签", "类别", "分类")
"""What a longer name of such a column holds, as in ``sentiment_label`` and 用户意图类别."""

PAIR_NAMES: tuple[tuple[str, str], ...] = (
    *(("sentence1", "sentence2"), ("sentencea", "sentenceb"), ("1string", "2string")),
    *(("text1", "text2"), ("texta", "textb"), ("text", "textpair"), ("question1", "question2")),
    *(("premise", "hypothesis"), ("question", "sentence"), ("query", "passage")),
    *(("question", "passage"), ("firsttext", "secondtext"), ("string1", "string2")),
    *(("句子1", "句子2"), ("文本1", "文本2"), ("问题1", "问题2"), ("前提", "假设")),
)
"""What two columns are called whose texts are compared; used only beside a label."""


def normalise(name: str) -> str:
    """A header without case, spaces, underscores and punctuation."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


_KNOWN = frozenset(
    (
        *(name for names in KNOWN_NAMES.values() for name in names),
        *LABEL_NAMES,
        *(name for pair in PAIR_NAMES for name in pair),
    )
)


def is_known_name(cell: str) -> bool:
    """Whether a cell is a usual column name."""
    return len(cell) <= 40 and normalise(cell) in _KNOWN
