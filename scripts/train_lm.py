"""Train a tiny language model on packed documents, its token ids guarded before and after packing.

    python scripts/train_lm.py --workdir runs/lm

The features are those of MaxText: ``inputs``, ``targets``, and for each ``_segmentation`` (0 is padding) and
``_position``. The documents are made here, two of them with a token outside the vocabulary; a third fault comes
in after packing. The guard on documents drops and names the first two; the guard on batches masks the third.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax

from label_guard import ClassLabel, DatasetSchema
from label_guard.core.plural import counted
from label_guard.grain import guard_labels, keyed, summary
from label_guard.jax import masked_mean

VOCABULARY = 256
LENGTH = 64  # tokens of a packed row
BATCH = 8
OPTIMIZER = optax.adam(1e-2)
READ_OPTIONS = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)

# Stored as uint16, as token files are; the check is made at that width, before any conversion.
TOKENS = ClassLabel(num_classes=VOCABULARY, dtype=("uint16",), shape=(None,), emit="int32")
DOCUMENTS = DatasetSchema(format=1, name="documents", version="1.0.0", labels={"tokens": TOKENS})
# Inputs are checked as well: an embedding lookup out of range raises nothing in JAX either.
# Padding (segment 0) is not checked, and a row of padding is not counted as a record.
ROWS = {
    name: ClassLabel(num_classes=VOCABULARY, dtype=("int32",), shape=(LENGTH,), where=f"{name}_segmentation")
    for name in ("inputs", "targets")
}
PACKED = DatasetSchema(format=1, name="packed-rows", version="1.0.0", labels=ROWS)


def make_documents(number: int, seed: int) -> list[dict[str, Any]]:
    """Documents of 8 to 48 tokens, each token the successor of the one before; two hold a token that does not exist."""
    rng = np.random.default_rng(seed)
    documents = []
    for position in range(number):
        start, length = rng.integers(0, VOCABULARY), rng.integers(8, 49)
        tokens = ((start + np.arange(length)) % VOCABULARY).astype(np.uint16)
        if position in (7, 20):
            tokens[3] = VOCABULARY + position
        documents.append({"tokens": tokens})
    return documents


def shift(document: dict[str, Any]) -> dict[str, Any]:
    """Next-token prediction: the targets are the inputs, one token later."""
    return {"inputs": document["tokens"][:-1], "targets": document["tokens"][1:]}


def rename(row: dict[str, Any]) -> dict[str, Any]:
    """Grain's names of packed features as MaxText's."""
    names = {"_segment_ids": "_segmentation", "_positions": "_position"}
    return {functools.reduce(lambda n, pair: n.replace(*pair), names.items(), name): v for name, v in row.items()}


def spoil(batch: dict[str, Any]) -> dict[str, Any]:
    """Faults that come in after packing: one target of the first row of each batch, and padding of -7."""
    targets = np.where(batch["targets_segmentation"] == 0, -7, batch["targets"]).astype(np.int32)
    targets[0, 0] = -1  # JAX would train the last token of the vocabulary
    return {**batch, "targets": targets}


def batches(args: argparse.Namespace) -> grain.IterDataset:
    """Guarded documents, packed, batched, and guarded again."""
    documents = grain.MapDataset.source(keyed(make_documents(args.documents, args.seed)))
    rows = (
        documents.shuffle(seed=args.seed)
        .to_iter_dataset(READ_OPTIONS)
        .pipe(guard_labels, DOCUMENTS, batched=False, quarantine=str(args.workdir / "documents"))
        .map(shift)
    )
    packed = grain.experimental.FirstFitPackIterDataset(
        rows, length_struct={"inputs": LENGTH, "targets": LENGTH}, num_packing_bins=BATCH
    )
    return (
        packed.map(rename)
        .batch(BATCH, drop_remainder=True)
        .map(spoil)
        .pipe(
            guard_labels,
            PACKED,
            on_invalid="mask",
            valid_key="{label}_segmentation",  # joins the segment ids: 0 where a token is invalid
            quarantine=str(args.workdir / "batches"),
            stop_above=None,
        )
    )


def loss_of(params: dict[str, jax.Array], batch: dict[str, jax.Array]) -> jax.Array:
    """Mean loss over the tokens that count: neither padding nor masked."""
    logits = params["embedding"][batch["inputs"]] @ params["output"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
    counts = (batch["targets_segmentation"] != 0) & (batch["inputs_segmentation"] != 0)
    return masked_mean(losses, counts)


@jax.jit
def train_step(params: Any, state: Any, batch: dict[str, jax.Array]) -> tuple[Any, Any, jax.Array]:
    """One step of gradient descent."""
    loss, gradients = jax.value_and_grad(loss_of)(params, batch)
    updates, state = OPTIMIZER.update(gradients, state)
    return optax.apply_updates(params, updates), state, loss


def train(args: argparse.Namespace) -> dict[str, Any]:
    """One pass over the documents; returns the losses and the counts of both guards."""
    keys = jax.random.split(jax.random.key(args.seed))
    params = {
        "embedding": jax.random.normal(keys[0], (VOCABULARY, 32)) * 0.1,
        "output": jax.random.normal(keys[1], (32, VOCABULARY)) * 0.1,
    }
    state, losses = OPTIMIZER.init(params), []
    iterator = iter(batches(args))
    for batch in iterator:
        names = ("inputs", "targets", "inputs_segmentation", "targets_segmentation")
        params, state, loss = train_step(params, state, {name: jnp.asarray(batch[name]) for name in names})
        losses.append(float(loss))
    return {"losses": losses, "summary": summary(iterator), "params": params}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main() -> None:
    """Trains, and prints what the guards saw."""
    args = parse()
    result = train(args)
    losses = result["losses"]
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f} in {counted(len(losses), 'step')}")
    print(f"both guards: {result['summary']}")
    table = result["params"]["embedding"]
    outside = jnp.array([VOCABULARY + 7])
    same = bool((table[outside] == table[VOCABULARY - 1]).all())
    print(f"unguarded, the embedding of token {VOCABULARY + 7} is that of token {VOCABULARY - 1}: {same}")


if __name__ == "__main__":
    main()
