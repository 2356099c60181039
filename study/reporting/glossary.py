"""The words of the report that a reader may not know, each explained once and linked from where it first appears."""

import re
from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Term:
    """A word of the report.

    Attributes:
        key: Its anchor in the page is "term-" and this.
        name: The word as the glossary lists it.
        meaning: What it means, in a sentence or two.
        forms: How it is written in sentences, as a regular expression.
    """

    key: str
    name: str
    meaning: str
    forms: str


GLOSSARY = (
    Term("source", "source, target", "The large dataset that the baseline was trained on, and the small one to which "
         "it is adapted.", r"(?:source|target)\b"),
    Term("baseline", "baseline", "The network as it was trained on the source, before any adaptation.", r"baseline\b"),
    Term("bl", "BL", "The paper's name for the baseline as it is: nothing is trained.", r"BL\b"),
    Term("fc", "FC", "The head alone is trained on the target, of vgg13 its fully connected layers; all before it "
         "stays frozen.", r"FC\b(?!\+)"),
    Term("fccl", "FC+CL", "As FC, and the last layer before the head is trained as well: of vgg13 a convolution.",
         r"FC\+CL\b"),
    Term("re", "RE", "Retraining: all layers are trained on the target.", r"RE\b"),
    Term("fu", "FU", "Fusion: trained on images of source and target together. The fusion ratio is the source's share "
         "of them.", r"FU\b"),
    Term("ft", "FT", "Fine-tuning with any other number of frozen layers than FC, FC+CL and RE have.", r"FT\b"),
    Term("trial", "trial, configuration", "A configuration is one choice of strategy and hyperparameters; a trial is "
         "one training of it. Where numbers of trials are missing, these only averaged networks to be handed over, or "
         "were begun again or withdrawn.", r"(?:trial|configuration)s?\b"),
    Term("frozen", "frozen layers", "Layers that keep the baseline's weights, counted from the input. Only vgg13 "
         "is counted in single layers, other networks in blocks of them.", r"frozen layers?\b"),
    Term("lr", "lr", "The learning rate: how far each step of a training moves the weights.", r"lr\b"),
    Term("epochs", "epochs", "How often a training passes over the target's images.", r"epochs?\b"),
    Term("alpha", "alpha, interpolated network", "An interpolated network has weights on the straight line between the "
         "baseline (alpha 0) and an adapted network (alpha 1). Where alpha has two values, the first is the first "
         "layer's and the second the last layer's. It costs no training.", r"(?:alpha|interpolated networks?)\b"),
    Term("kept", "kept, retention", "The share of the baseline's source accuracy that a network still has: what it did "
         "not forget.", r"(?:share kept|source kept|retention|kept)\b"),
    Term("front", "front", "The networks that no other network beats on one dataset without losing on the other.",
         r"front\b"),
    Term("hypervolume", "hypervolume", "The area that the front dominates, measured from chance on both datasets: one "
         "number for a whole front. Larger is better.", r"hypervolume\b"),
    Term("expected", "expected accuracy", "The accuracy to count on with other people and another training: what was "
         "observed, drawn to what the other networks showed: chance favoured the best of many most, and the "
         "worst least. So it may also be more than what was observed.", r"expected\b"),
    Term("interval", "interval", "The range in which the true value lies with the stated probability, here with other "
         "people and other trainings.", r"intervals?\b"),
    Term("fold", "fold", "One part of the target's people, left out of a training and used to judge it.",
         r"folds?\b"),
    Term("rung", "rung", "A training budget. The best third of the trials on a rung is trained again on the next, with "
         "four times the budget.", r"rungs?\b"),
    Term("race", "race", "Further trainings after the search, of the networks of which it is not clear whether they "
         "belong to the front.", r"race\b"),
    Term("died", "died", "An expression has died where the baseline recognises it and the network is no better than "
         "guessing.", r"died\b"),
    Term("significant", "significant", "More than chance explains, with allowance for everything that was compared.",
         r"significant(?:ly)?\b"),
    Term("observed", "observed", "As validation images showed it, with what chance added to the networks that were "
         "chosen for it.", r"observed\b"),
    Term("p", "p", "How probable so large a difference would be by chance alone. Below 0.05 it is called significant. "
         "Corrected means: for all the comparisons that were made.", r"p\b(?= =| alone| of)"),
    Term("confirm", "confirmation", "Training the networks of the front again with several seeds, and evaluating them "
         "once on test images that the search never read.", r"(?:confirm|confirmed|confirmation)\b"),
    Term("recall", "recall", "The share of the images of one expression that a network has right.", r"recall\b"),
    Term("uar", "UAR", "Unweighted average recall: the mean of the recalls of all expressions.", r"UAR\b"),
    Term("ece", "ECE", "Expected calibration error: how far a network's confidence lies from its accuracy, on "
         "average.", r"ECE\b"),
    Term("f1", "F1", "The mean over expressions of the harmonic mean of precision and recall.", r"F1\b"),
    Term("flips", "flips", "Source images that the baseline had right and the network has wrong.", r"[Ff]lips\b"),
    Term("optimism", "optimism", "How much better a figure looked during the search than it is expected, or was "
         "tested, to be.", r"[Oo]ptimism\b"),
    Term("cka", "CKA", "Linear centred kernel alignment: how alike the outputs of a layer are in two networks; 1 is "
         "alike up to rotation and scale.", r"CKA\b"),
    Term("probe", "linear probe", "A new last layer, trained on a network's features: what they still tell about "
         "expressions.", r"linear probe\b"),
    Term("drift", "drift", "How far a network's answers on target images moved from the baseline's, as KL "
         "divergence in nats.", r"[Dd]rift\b"),
    Term("importance", "importance", "Which hyperparameter separates the best tenth of the trials from the others, by "
         "PED-ANOVA (arXiv 2304.10255).", r"[Ii]mportance\b"),
    Term("seed", "seed", "A number from which everything random in a training derives; another seed is another "
         "training.", r"seeds?\b"),
    Term("synthetic", "stand-in", "Faces drawn by this program in place of a dataset that is not there.",
         r"stand-in\b"),
)  # fmt: skip
"""The glossary, in the order in which the page lists it."""


def _pattern(term: Term) -> str:
    """Returns what finds a word in a sentence, at whose beginning it may stand; abbreviations are capitals."""
    forms = term.forms if term.forms[0].isupper() else f"(?i:{term.forms})"
    return rf"(?P<{term.key}>(?<![\w-]){forms})"


_ANY_FORM = re.compile("|".join(map(_pattern, GLOSSARY)))


class GlossaryLinks:
    """Links each word of the glossary where it first appears in a page, which is rendered from top to bottom."""

    def __init__(self) -> None:
        self._linked: set[str] = set()

    def __call__(self, text: object) -> Markup:
        """Returns text as HTML, escaped, each word of the glossary that was not linked before as a link."""

        def link(match: re.Match[str]) -> str:
            key = str(match.lastgroup)
            if key in self._linked:
                return match[0]
            self._linked.add(key)
            return f'<a class="term" href="#term-{key}">{match[0]}</a>'

        # Words have neither signs that are escaped nor parts of their escapes.
        return Markup(_ANY_FORM.sub(link, str(escape(text))))
