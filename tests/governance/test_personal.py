"""What is somebody's own is found by its shape; what is nobody's is mostly left alone."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from ragstone.governance.personal import is_personal, personal_kind

SAMPLE = Path(os.environ.get("RAGSTONE_PII_SAMPLE", "../shared/data/pii/examples.jsonl"))
SHAPED = {"EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Send it to ann.lee+shop@mail.example.org please", "email"),
        ("ann@bücher.example asked", "email"),
        ("My card 4111 1111 1111 1111 was charged twice", "card"),
        ("Refund to GB29 NWBK 6016 1331 9268 19, please", "iban"),
        ("Refund to DE89370400440532013000", "iban"),
        ("Call me at +44 20 7946 0958", "number"),
        ("Call (555) 123-4567 today", "number"),
        ("My number is 555-1234", "number"),
        ("Where is order 4711-2024-88?", "number"),
        ("Where is order #48213?", "reference"),
        ("Where is ORD-20417?", "reference"),
        ("My customer number is K-4711", "reference"),
        ("order no. 381 has not come", "reference"),
    ],
)
def test_what_is_somebodys_is_found(text: str, kind: str) -> None:
    assert personal_kind(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "Within how many days can full-price items be returned?",
        "Items can be returned within 45 days, from 2024-01-15 to 15.02.2024.",
        "Orders above 1,500 dollars ship free in 2023-2024.",
        "Does the X-100 fit a 40 x 60 cm frame?",
        "Can I order 12 of these?",
        "The tag @home means a page.",
    ],
)
def test_what_is_nobodys_is_left_alone(text: str) -> None:
    assert not is_personal(text)


@pytest.mark.parametrize(
    "unit", ["1 ", "a@", "@a.", "1-", "DE12 ", "a1", "#", "order ", "(.", "-1-a", "no:#", "١"]
)
def test_time_grows_linearly(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * length)[:length] + "x"
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            personal_kind(text)
            best = min(best, time.process_time() - began)
        return best

    seconds(100)
    assert seconds(64_000) < 60 * max(seconds(4_000), 5e-5)  # 16 times as long; squared: 256 times


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of personal data is not here")
def test_recall_and_precision_on_marked_sentences() -> None:
    found = expected = right = 0
    for line in SAMPLE.read_bytes().splitlines():
        row = msgspec.json.decode(line)
        truly = any(span["entity_type"] in SHAPED for span in row["spans"])
        says = is_personal(row["full_text"])
        expected += truly
        found += says
        right += truly and says
    print(f"recall {right / expected:.3f} precision {right / found:.3f} of {expected}")
    assert right / expected >= 0.97
    assert right / found >= 0.6
