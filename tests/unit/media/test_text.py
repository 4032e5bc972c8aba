"""Text becomes tokens, or BYTES."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from headrace.accepts import AcceptedText
from headrace.errors import BodyTooLarge, InvalidInput, ModelLoadError
from headrace.media import Medium, build
from headrace.values import DType, Signature, TensorSpec

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat")


def write(tmp_path: Path, padding: dict[str, Any], cutting: dict[str, Any] | None = None) -> Path:
    numbers = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_padding(**padding)
    if cutting:
        made.enable_truncation(**cutting)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return write(tmp_path, {"length": 128})  # as some files say; it is not for us


def bert(length: int | None = None, *names: str, dtype: DType = DType.INT64) -> Signature:
    inputs = names or ("input_ids", "attention_mask", "token_type_ids")
    specs = tuple(TensorSpec(name, dtype, (None, length)) for name in inputs)
    return Signature(specs, (), batched=True)


def medium(signature: Signature, **keys: Any) -> Medium:
    return build(signature, (AcceptedText(kind="text", **keys),))[0]


def give(one: Medium, *texts: str) -> dict[str, Any]:
    tensors = one.gather([one.read(text.encode()) for text in texts])
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def test_texts_of_one_request_are_padded_to_the_longest(tokenizer: Path) -> None:
    found = give(medium(bert(), tokenizer=tokenizer), "the cat sat", "cat")
    assert found == {
        "input_ids": [[2, 4, 5, 6, 3], [2, 5, 3, 0, 0]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
        "token_type_ids": [[0] * 5, [0] * 5],
    }


def test_long_text_is_cut_and_keeps_its_end_mark(tokenizer: Path) -> None:
    found = give(medium(bert(), tokenizer=tokenizer, max_tokens=4), "the cat sat")
    assert found["input_ids"] == [[2, 4, 5, 3]]


def test_a_fixed_length_is_kept(tokenizer: Path) -> None:
    one = medium(bert(4), tokenizer=tokenizer)
    assert give(one, "cat")["input_ids"] == [[2, 5, 3, 0]]
    assert give(one, "the cat sat the cat")["input_ids"] == [[2, 4, 5, 3]]


@pytest.mark.parametrize("length", [None, 5])
def test_the_tokenizer_s_own_padding_and_cutting_are_kept(
    tmp_path: Path, length: int | None
) -> None:
    padding = {"direction": "left", "pad_id": 1, "pad_type_id": 7}
    path = write(
        tmp_path, padding, {"max_length": 4, "direction": "left", "strategy": "only_second"}
    )
    one = medium(bert(length), tokenizer=path, max_tokens=5)
    assert give(one, "the the cat sat", "cat") == {
        "input_ids": [[2, 4, 5, 6, 3], [1, 1, 2, 5, 3]],
        "attention_mask": [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]],
        "token_type_ids": [[0] * 5, [7, 7, 0, 0, 0]],
    }
    assert give(medium(bert(), tokenizer=path), "the cat sat")["input_ids"] == [[2, 5, 6, 3]]


def test_rows_are_as_long_as_the_tokenizer_s_multiple_of_tokens(tmp_path: Path) -> None:
    path = write(tmp_path, {"pad_to_multiple_of": 4})
    assert give(medium(bert(), tokenizer=path), "the cat sat")["input_ids"] == [
        [2, 4, 5, 6, 3, 0, 0, 0]
    ]
    assert give(medium(bert(6), tokenizer=path), "cat")["input_ids"] == [[2, 5, 3, 0, 0, 0]]


@pytest.mark.parametrize(
    ("length", "keys"), [(None, {"max_tokens": 1}), (None, {"max_tokens": 2}), (1, {}), (2, {})]
)
def test_a_length_of_no_text_fails_the_model(
    tokenizer: Path, length: int | None, keys: dict[str, Any]
) -> None:
    with pytest.raises(ModelLoadError, match=r"no more than the 2 that .* raise `max_tokens`"):
        medium(bert(length), tokenizer=tokenizer, **keys)


def test_inputs_that_the_model_does_not_have_are_not_given(tokenizer: Path) -> None:
    one = medium(bert(None, "tokens", dtype=DType.INT32), tokenizer=tokenizer, ids="tokens")
    assert one.feeds == ("tokens",)
    assert one.gather([one.read(b"cat")])["tokens"].dtype == "int32"


def test_unknown_words_and_other_scripts_are_tokens_too(tokenizer: Path) -> None:
    assert give(medium(bert(), tokenizer=tokenizer), "猫 naïve")["input_ids"] == [[2, 1, 1, 3]]


def test_text_may_go_to_the_model_as_it_is() -> None:
    spec = TensorSpec("s", DType.BYTES, (None, 1))
    one = medium(Signature((spec,), (), batched=True), input="s")
    assert give(one, "ä", "b") == {"s": [["ä".encode()], [b"b"]]}
    scalar = medium(Signature((TensorSpec("s", DType.BYTES, ()),), (), batched=False), input="s")
    assert give(scalar, "a") == {"s": b"a"}
    with pytest.raises(InvalidInput, match="takes one text a request, not 2"):
        give(scalar, "a", "b")


def test_text_that_is_none_names_the_input_it_was_for() -> None:
    spec = TensorSpec("s", DType.BYTES, (None, 1))
    one = medium(Signature((spec,), (), batched=True), input="s")
    with pytest.raises(InvalidInput, match=r"^'s': the text is not UTF-8 \(byte 1\)"):
        one.read(b"a\xff")


@pytest.mark.parametrize("pad", ["[PAD]", "<pad>", "<|pad|>", "<PAD>"])
def test_short_texts_are_filled_with_what_the_tokenizer_calls_so(tmp_path: Path, pad: str) -> None:
    numbers = {"<s>": 0, "a": 1, pad: 2}
    made = Tokenizer(models.WordLevel(numbers, unk_token="a"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    one = medium(bert(None, "input_ids"), tokenizer=tmp_path / "tokenizer.json")
    assert give(one, "a a", "a") == {"input_ids": [[1, 1], [1, 2]]}


def test_python_s_lock_is_free_while_a_long_text_is_read(tokenizer: Path) -> None:
    one = medium(bert(), tokenizer=tokenizer)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # the thread is there
        began_s = last_s = time.monotonic()
        reading, longest_s = pool.submit(one.read, b"a " * 2**19), 0.0
        while not reading.done():
            now_s = time.monotonic()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
        whole_s = time.monotonic() - began_s
        longest_s = max(longest_s, time.monotonic() - last_s)
        assert len(reading.result().ids) == 2**19 + 2
    assert longest_s < whole_s / 2


def test_short_texts_are_not_padded_to_a_huge_one_without_bound(tokenizer: Path) -> None:
    one = medium(bert(), tokenizer=tokenizer)
    items = [one.read(b"a " * 2**19), *[one.read(b"a")] * 127]
    with pytest.raises(BodyTooLarge, match=r"128 texts of 524290 tokens.* more than 256 MiB"):
        one.gather(items)


def test_what_is_no_text_is_refused(tokenizer: Path) -> None:
    one = medium(bert(), tokenizer=tokenizer)
    with pytest.raises(InvalidInput, match=r"'text': the text is not UTF-8 \(byte 1\)"):
        one.read(b"a\xff")
    with pytest.raises(BodyTooLarge, match="the text is longer than"):
        one.read(b"a" * (2**20 + 1))


@pytest.mark.parametrize(
    ("signature", "keys", "says"),
    [
        (bert(None, "x"), {}, "`ids`: there is no input 'input_ids'; inputs: x"),
        (bert(None, "input_ids"), {"mask": "m"}, "`mask`: there is no input 'm'"),
        (bert(dtype=DType.FP32), {}, "`ids`: input .*tokens are INT64 or INT32"),
    ],
)
def test_an_entry_that_does_not_fit_names_its_key(
    tokenizer: Path, signature: Signature, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelLoadError, match=f"^accepts: text 'text': {says}"):
        medium(signature, tokenizer=tokenizer, **keys)


def test_a_tokenizer_that_cannot_be_read_fails_the_model(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    for name in ("t.json", "absent.json"):
        with pytest.raises(ModelLoadError, match=f"accepts: tokenizer .*{name}: cannot be read"):
            medium(bert(), tokenizer=tmp_path / name)


def test_numbers_are_no_text() -> None:
    numbers = Signature((TensorSpec("x", DType.FP32, (None, 1)),), (), batched=True)
    with pytest.raises(ModelLoadError, match="the input is FP32, not BYTES; set `tokenizer`"):
        medium(numbers, input="x")
    many = Signature((TensorSpec("x", DType.BYTES, (None, 3)),), (), batched=True)
    with pytest.raises(ModelLoadError, match="several texts a row"):
        medium(many, input="x")
