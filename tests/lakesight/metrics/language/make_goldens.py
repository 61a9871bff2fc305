"""Write what the published evaluation answers into goldens.json.

    python -m venv other && other/bin/pip install pycocoevalcap==1.2    # and a Java runtime
    other/bin/python tests/lakesight/metrics/language/make_goldens.py

It keeps what the file gives (sentences; captions and references of pictures) and writes anew what
the reference package makes of it. The package is BSD; it is run here, nothing of it is copied.
"""

import json
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

PATH = Path(__file__).with_name("goldens.json")

Texts = dict[int, list[str]]


def tokens(texts: Texts) -> Texts:
    """Return what the evaluation compares: words with spaces between them."""
    asked = {key: [{"caption": one} for one in values] for key, values in texts.items()}
    found: Texts = PTBTokenizer().tokenize(asked)
    return found


def scores(captions: Texts, references: Texts) -> dict[str, object]:
    """Return each figure, and of most the figure of each picture."""
    bleu, _ = Bleu(4).compute_score(references, captions, verbose=0)
    rouge, rouges = Rouge().compute_score(references, captions)
    cider, ciders = Cider().compute_score(references, captions)
    meteor, meteors = Meteor().compute_score(references, captions)
    return {
        "bleu": list(map(float, bleu)),
        "rouge_l": [float(rouge), *map(float, rouges)],
        "cider_d": [float(cider), *map(float, ciders)],
        "meteor": [float(meteor), *map(float, meteors)],
    }


def main() -> None:
    """Read what is given, write what the reference makes of it."""
    goldens = json.loads(PATH.read_text())
    words = tokens(dict(enumerate([one] for one in goldens["sentences"])))
    pictures = goldens["pictures"]
    captions = tokens({number: [one["caption"]] for number, one in enumerate(pictures)})
    references = tokens({number: one["references"] for number, one in enumerate(pictures)})
    goldens["words"] = [words[number][0] for number in range(len(words))]
    goldens["scores"] = scores(captions, references)
    PATH.write_text(json.dumps(goldens, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
