"""Distribution matching: what a network says of expressions and of action units must agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl_toolkit import ConfigError, CouplingLoss, Head, HeadOutput, Loss, hookimpl, suggestion
from mtl_toolkit.validators import not_empty, unique

LiveCoupling = Callable[[Mapping[str, HeadOutput], Mapping[str, Any], Mapping[str, Tensor]], Tensor]
Table = Mapping[str, Mapping[str, float]]

# Du, Tao and Martinez (PNAS 2014), table 1: units of more than 70 % of the people count as those of all, the
# others with the share of the people who show them. A neutral face shows none.
UNITS_OF_EXPRESSIONS: Table = MappingProxyType(
    {
        "neutral": {},
        "anger": {"AU4": 1.0, "AU7": 1.0, "AU24": 1.0, "AU10": 0.26, "AU17": 0.52, "AU23": 0.29},
        "disgust": {"AU9": 1.0, "AU10": 1.0, "AU17": 1.0, "AU4": 0.31, "AU24": 0.26},
        "fear": {"AU1": 1.0, "AU4": 1.0, "AU20": 1.0, "AU25": 1.0, "AU2": 0.57, "AU5": 0.63, "AU26": 0.33},
        "happiness": {"AU12": 1.0, "AU25": 1.0, "AU6": 0.51},
        "sadness": {"AU4": 1.0, "AU15": 1.0, "AU1": 0.6, "AU6": 0.5, "AU11": 0.26, "AU17": 0.67},
        "surprise": {"AU1": 1.0, "AU2": 1.0, "AU25": 1.0, "AU26": 1.0, "AU5": 0.66},
    }
)


def _probabilities(_instance: Any, _attribute: Any, table: Table) -> None:
    for name, units in table.items():
        for unit, share in units.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}.{unit} must be between 0 and 1 (got {share!r})")


def _default_table() -> dict[str, dict[str, float]]:
    return {name: dict(units) for name, units in UNITS_OF_EXPRESSIONS.items()}


@attrs.frozen(kw_only=True)
class DistributionMatching(CouplingLoss):
    """Cross-entropy between action units as predicted, and as the predicted expression makes them probable.

    Kollias, Sharmanska and Zafeiriou: Distribution matching for heterogeneous multi-task learning (arXiv
    2105.03790, 2021). With p(k) the probability of an expression and t(u|k) the table, a face shows unit u
    with probability q(u) = sum over k of p(k) t(u|k), while the units' own head says p(u). The loss is
    -q(u) log p(u) - (1 - q(u)) log(1 - p(u)), the mean over the head's units that the table has, and over all
    rows. That differs from the paper, which writes -p(u) log q(u), summed over the units. With
    `target = "action-units"` the loss is the paper's with the term of units that are not there, without which
    no units at all would be best; units that have no labels of their own then soon settle at 0 or 1, so it is
    not the default.

    It needs no labels. A combined task names it in its `losses`; of its members one has the expressions and
    one the action units, matched with the table by name.
    """

    name: ClassVar[str] = "distribution-matching"
    table: Mapping[str, Mapping[str, float]] = attrs.field(
        factory=_default_table,
        validator=[not_empty(), _probabilities],
        metadata={
            "doc": "by expression, the probability of each unit that it shows; of others it is 0. By default "
            "table 1 of Du, Tao and Martinez (PNAS 2014)"
        },
    )
    unrelated: tuple[str, ...] = attrs.field(
        default=("other",),
        validator=unique(),
        metadata={
            "doc": "expressions that tell nothing of units: rows count as far as they are none of these"
        },
    )
    target: Literal["expression", "action-units"] = attrs.field(
        default="expression",
        metadata={"doc": "whose probabilities are the target, outside of the logarithm: q(u) or p(u)"},
    )
    detach: bool = attrs.field(
        default=False,
        metadata={"doc": "no gradient goes to the target; by default both sides learn"},
    )

    def build_joint(self, heads: Mapping[str, Head]) -> LiveCoupling:
        """For members of which one has the table's expressions as classes, and one its units.

        Raises:
            ConfigError: if there are no such members or several, or a class is neither in the table nor in
                `unrelated`.
        """
        units = list(dict.fromkeys(unit for row in self.table.values() for unit in row))
        expression = self._member(heads, "classes", self.table)
        action_units = self._member(heads, "units", units)
        classes: list[str] = heads[expression].meaning()["classes"]
        for name in classes:
            if name not in self.table and name not in self.unrelated:
                raise ConfigError(
                    f"{self.name}: class {name!r} of task {expression!r} must be in table or in unrelated"
                    f"{suggestion(name, [one for one in self.table if one not in classes])}"
                )
        known = [place for place, name in enumerate(classes) if name in self.table]
        shown = [(place, unit) for place, unit in enumerate(heads[action_units].units) if unit in units]
        shares = [[self.table[classes[place]].get(unit, 0.0) for _, unit in shown] for place in known]
        return Matching(
            expression,
            action_units,
            classes=None if len(known) == len(classes) else torch.tensor(known),
            units=torch.tensor([place for place, _ in shown]),
            table=torch.tensor(shares),
            by_units=self.target == "action-units",
            detach=self.detach,
        )

    def _member(self, heads: Mapping[str, Head], key: str, names: Collection[str]) -> str:
        """The one member that has some of the names as its classes, or units."""
        found = [task for task, head in heads.items() if set(head.meaning().get(key, ())) & set(names)]
        if len(found) != 1:
            got = ", ".join(map(repr, found or heads))
            raise ConfigError(
                f"{self.name}: needs one member with {key} of its table, such as "
                f"{', '.join(sorted(names)[:3])} (got {got})"
            )
        return found[0]


class Matching(nn.Module):
    """The live loss.

    Args:
        expression: the task whose values are logits of classes.
        action_units: the task whose values are logits of units.
        classes: int64, the classes that the table has; None: all.
        units: int64, the units that the table has.
        table: float32 [classes, units], probability of a unit given the class.
        by_units: whether the predicted units are the target, or those that the expression makes probable.
        detach: whether the target gets no gradient.
    """

    classes: Tensor | None
    units: Tensor
    log_there: Tensor
    log_gone: Tensor

    def __init__(
        self,
        expression: str,
        action_units: str,
        *,
        classes: Tensor | None,
        units: Tensor,
        table: Tensor,
        by_units: bool,
        detach: bool,
    ) -> None:
        super().__init__()
        self.expression, self.action_units = expression, action_units
        self.by_units, self.detach = by_units, detach
        # log 0 would be infinite, and its gradient NaN where no class shows a unit, or each does.
        least = torch.finfo(torch.float32).tiny
        self.register_buffer("classes", classes, persistent=False)
        self.register_buffer("units", units, persistent=False)
        self.register_buffer("log_there", table.clamp(min=least).log(), persistent=False)
        self.register_buffer("log_gone", (1 - table).clamp(min=least).log(), persistent=False)

    def forward(
        self, outputs: Mapping[str, HeadOutput], targets: Mapping[str, Any], masks: Mapping[str, Tensor]
    ) -> Tensor:
        """The loss of all rows; their labels are not looked at."""
        logits = outputs[self.action_units].values.float()[:, self.units]
        expected, weight = self.expected(outputs[self.expression].values.float())
        predicted = F.logsigmoid(logits), F.logsigmoid(-logits)
        target, other = (predicted, expected) if self.by_units else (expected, predicted)
        if self.detach:
            target = target[0].detach(), target[1].detach()
        losses = -(target[0].exp() * other[0] + target[1].exp() * other[1])
        return (losses.mean(1) * weight).sum() / max(len(losses), 1)

    def expected(self, logits: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """What expressions make of units.

        Args:
            logits: of the expressions, [rows, classes].

        Returns:
            Logarithms of the probabilities [rows, units] that a unit is there, and that it is not; and how
            far the table knows the row's expression, [rows] in 0..1 and without gradient.
        """
        weight = logits.new_ones(len(logits))
        if self.classes is not None:
            weight = logits.detach().softmax(-1)[:, self.classes].sum(-1)
            logits = logits[:, self.classes]
        classes = logits.log_softmax(-1)[:, :, None]
        return (
            (classes + self.log_there).logsumexp(1),
            (classes + self.log_gone).logsumexp(1),
        ), weight


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    """Distribution matching."""
    return [DistributionMatching]
