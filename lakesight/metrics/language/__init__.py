"""How good a model's words are: captions, answers, and the search by words and by pictures.

from lakesight.metrics import AnswerEvaluator, Bootstrap, CaptionEvaluator, RetrievalEvaluator
"""

from lakesight.metrics.language.captions import CaptionEvaluator, document_frequency
from lakesight.metrics.language.cider import DocumentFrequency
from lakesight.metrics.language.questions import AnswerEvaluator
from lakesight.metrics.language.result import LanguageResult
from lakesight.metrics.language.retrieval import RetrievalEvaluator
from lakesight.metrics.language.tokens import tokenize

__all__ = [
    "AnswerEvaluator",
    "CaptionEvaluator",
    "DocumentFrequency",
    "LanguageResult",
    "RetrievalEvaluator",
    "document_frequency",
    "tokenize",
]
