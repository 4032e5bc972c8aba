"""Answers a customer's question with the nearest of a list: a tokenizer, a model, and some Python.

`questions.json` has questions and their answers. The sentence model turns each, and what is asked,
into a direction; the question in the nearest direction is the one that was meant. Text goes in and
text comes out, so that clients know nothing of tokens. To serve it, with the sentence model of the
zoo (pip install 'headrace[text]'):

    python -m zoo fetch minilm-text
    mkdir -p faq/1
    cp .cache/models/minilm-text/tokenizer.json .cache/models/minilm-text/1/model.onnx faq/1/
    cp examples/python_model/model.py examples/python_model/questions.json faq/1/
    cp examples/python_model/card.yaml faq/
    headrace serve faq

    curl localhost:8000/predict/faq -H 'content-type: text/plain' -d 'My parcel is broken!'
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

LENGTH = 48
"""Tokens of a question: rows of a batch are equally long, and nobody asks for longer."""

LEAST = np.float32(0.4)
"""A question that is less like all of those in the list has no answer there."""


class Model:
    """What Headrace makes one of, and gives batches of up to `max_batch` questions."""

    inputs = {"text": ("BYTES", [None])}  # noqa: RUF012 - read once, written never
    outputs = {  # noqa: RUF012 - the same
        "answer": ("BYTES", [None]),
        "question": ("BYTES", [None]),
        "similarity": ("FP32", [None]),
    }
    # Several batches may run at once: neither a session nor a tokenizer changes when it is used.
    threadsafe = True

    def load(self, folder: Path) -> None:
        """Load what lies beside this file; called once, before anybody waits."""
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LENGTH)
        self._tokenizer.enable_padding(length=LENGTH)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # Headrace runs batches beside each other instead
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        pairs = json.loads((folder / "questions.json").read_text("utf-8"))
        self._questions = [pair["question"] for pair in pairs]
        self._answers = [pair["answer"] for pair in pairs]
        rows = [self._tokens(question) for question in self._questions]
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        self._known = self._directions(batch)

    def preprocess(self, item: dict[str, Any]) -> Arrays:
        """Make tokens of one question; what `infer` gets are the rows of a batch, stacked."""
        return self._tokens(item["text"].decode("utf-8", "replace"))

    def infer(self, batch: Arrays) -> Arrays:
        """Compare every question of a batch with every one of the list, at once."""
        return {"similarities": self._directions(batch) @ self._known.T}

    def postprocess(self, item: Arrays) -> dict[str, Any]:
        """Look up the answer to one question."""
        best = int(item["similarities"].argmax())
        similarity = item["similarities"][best]
        found = similarity >= LEAST
        return {
            "answer": self._answers[best] if found else "",
            "question": self._questions[best] if found else "",
            "similarity": similarity,
        }

    def _tokens(self, text: str) -> Arrays:
        encoded = self._tokenizer.encode(text)
        return {
            "input_ids": np.array(encoded.ids, np.int64),
            "attention_mask": np.array(encoded.attention_mask, np.int64),
            "token_type_ids": np.zeros(LENGTH, np.int64),
        }

    def _directions(self, tokens: Arrays) -> NDArray[np.float32]:
        """The mean over the tokens of each row, made one long."""
        (states,) = self._session.run(["last_hidden_state"], tokens)
        mask = tokens["attention_mask"][:, :, None].astype(np.float32)
        means = (states * mask).sum(1) / mask.sum(1)
        directions: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return directions
