"""The sample corpus is complete, agrees with itself, and its judgments are true."""

from __future__ import annotations

import csv
import html
import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ragstone.sample import write_corpus
from ragstone.sample.catalogue import load_catalogue
from ragstone.sample.compatibility import CARRIED
from ragstone.sample.corpus import Corpus
from ragstone.sample.products import MAX_WORDS, MIN_WORDS, Product, generate_products
from ragstone.sample.questions import help_questions, load_help_questions, product_questions
from ragstone.sample.requests import load_requests
from ragstone.sample.stores import load_stores

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ROOT / "src" / "ragstone" / "sample" / "documents"
SOURCES = ROOT / "tools" / "sample_sources"
BINARY = {".docx", ".pdf"}
FORMATS = {
    ".md": 40,
    ".html": 8,
    ".txt": 5,
    ".csv": 6,
    ".json": 3,
    ".jsonl": 2,
    ".docx": 3,
    ".pdf": 3,
}


def plain(text: str) -> str:
    """Text without emphasis, in lower case, with single spaces."""
    return " ".join(text.replace("*", "").split()).lower()


def text_of(path: Path) -> str:
    if path.suffix in BINARY:
        source = SOURCES / path.relative_to(DOCUMENTS)
        return source.with_name(source.name + ".md").read_text(encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<[^>]+>", " ", text)) if path.suffix == ".html" else text


@cache
def help_files() -> tuple[Path, ...]:
    return tuple(sorted(path for path in DOCUMENTS.rglob("*") if path.is_file()))


@cache
def help_texts() -> dict[str, str]:
    """Text of each help document, by document id."""
    texts: dict[str, str] = {}
    for path in help_files():
        if path.suffix == ".jsonl":
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                assert record["id"] not in texts
                texts[record["id"]] = plain(record["title"] + " " + record["text"])
        else:
            texts[path.relative_to(DOCUMENTS).as_posix()] = plain(text_of(path))
    return texts


def rows(name: str) -> list[dict[str, str]]:
    with (DOCUMENTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def products() -> list[Product]:
    return generate_products()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("sample"))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "query_id\tdocument_id\tgrade"
    grades: dict[str, dict[str, int]] = {}
    for line in lines[1:]:
        query, document, grade = line.split("\t")
        assert document not in grades.setdefault(query, {})
        grades[query][document] = int(grade)
    return grades


class TestHelpDocuments:
    def test_there_are_enough_in_every_format(self) -> None:
        found = Counter(path.suffix for path in help_files())
        assert sum(found.values()) >= 64
        assert set(found) == set(FORMATS)
        assert all(found[suffix] >= least for suffix, least in FORMATS.items())

    def test_prose_is_neither_a_stub_nor_a_book(self) -> None:
        for path in help_files():
            if path.suffix in {".md", ".html", ".txt", *BINARY}:
                assert 150 <= len(text_of(path).split()) <= 900, path.name

    def test_structured_files_can_be_read(self) -> None:
        for path in help_files():
            if path.suffix == ".json":
                assert json.loads(path.read_text(encoding="utf-8"))[
                    "title" if path.name != "teasel-circle-tiers.json" else "programme"
                ]
            elif path.suffix == ".jsonl":
                assert all(
                    set(record) == {"id", "title", "text", "metadata"}
                    for record in read_jsonl(path)
                )
            elif path.suffix == ".csv":
                table = rows(path.relative_to(DOCUMENTS).as_posix())
                assert len(table) >= 9
                assert all(None not in row and None not in row.values() for row in table), path.name

    def test_html_pages_have_boilerplate_around_a_main_part(self) -> None:
        for path in help_files():
            if path.suffix == ".html":
                page = path.read_text(encoding="utf-8")
                assert all(tag in page for tag in ("<nav>", "<main>", "<h1>", "<footer>")), (
                    path.name
                )

    def test_binaries_are_small_and_have_a_source(self) -> None:
        binaries = {p.relative_to(DOCUMENTS).as_posix() for p in help_files() if p.suffix in BINARY}
        sources = {
            p.relative_to(SOURCES).as_posix().removesuffix(".md") for p in SOURCES.rglob("*.md")
        }
        assert binaries == sources
        assert all((DOCUMENTS / name).stat().st_size < 60_000 for name in binaries)

    def test_word_files_contain_their_source(self) -> None:
        for path in (p for p in help_files() if p.suffix == ".docx"):
            with zipfile.ZipFile(path) as archive:
                document = archive.read("word/document.xml").decode()
            words = plain(html.unescape(re.sub(r"<[^>]+>", " ", document)))
            source = re.sub(r"^\|[-|]+\|$", "", text_of(path), flags=re.MULTILINE)
            source = re.sub(r"^#+ |\|", " ", source, flags=re.MULTILINE)
            assert plain(source) == words

    def test_pdf_files_have_several_pages(self) -> None:
        for path in (p for p in help_files() if p.suffix == ".pdf"):
            assert len(re.findall(rb"/Type /Page\b(?!s)", path.read_bytes())) >= 2, path.name


class TestFactsAgree:
    def test_store_list_and_store_pages(self) -> None:
        texts = help_texts()
        for row in rows("stores/stores.csv"):
            assert row["store_id"] in CARRIED
            for page in texts:
                if page.startswith("stores/") and page.endswith((".md", ".html")):
                    mentioned = row["street"].lower() in texts[page]
                    assert not mentioned or row["mon_wed"].split("-")[1] in texts[page], page

    @pytest.mark.parametrize(
        ("service", "label"),
        [
            ("repair desk", "repair desk"),
            ("alterations", "alterations"),
            ("personal styling", "personal styling"),
            ("home studio", "home studio"),
            ("same-day courier", "same-day courier"),
            ("kerbside", "kerbside collection"),
            ("gift wrap", "gift wrapping table"),
        ],
    )
    def test_service_table_and_store_list(self, service: str, label: str) -> None:
        table = help_texts()["stores/store-services.md"]
        listed = re.search(rf"\| {label} \| ([^|]+) \|", table)
        assert listed is not None
        offering = [r for r in rows("stores/stores.csv") if service in r["services"].split("; ")]
        assert len(listed[1].split(",")) == len(offering)
        assert all(row["city"].lower() in listed[1] for row in offering)

    def test_holiday_hours_name_known_stores(self) -> None:
        known = {store.store_id for store in load_stores()}
        for row in rows("stores/holiday-opening-2026.csv"):
            assert row["stores"].startswith("all ") or set(row["stores"].split(";")) <= known

    def test_delivery_page_and_rate_table(self) -> None:
        page = help_texts()["shipping/delivery-options.html"]
        for row in rows("shipping/shipping-rates.csv"):
            if (
                row["country"] in {"Ireland", "Netherlands", "France"}
                and row["service"] == "standard"
            ):
                low, high = row["working_days"].split("-")
                assert f"eur {row['fee_eur']}" in page
                assert f"eur {row['free_from_eur']}" in page
                assert f"{low} to {high} working days" in page

    def test_warranty_overview_and_table(self) -> None:
        overview = help_texts()["warranty/warranty-overview.md"]
        for row in rows("warranty/warranty-terms.csv"):
            group = row["product_group"].lower()
            found = re.search(rf"\| {group}(?:: [^|]*)? \| (\d+) years \|", overview)
            first = next(
                r
                for r in rows("warranty/warranty-terms.csv")
                if r["product_group"] == row["product_group"]
            )
            assert found is None or found[1] == first["years"], group

    def test_old_and_new_returns_policies_are_dated(self) -> None:
        texts = help_texts()
        assert "effective from 1 march 2026" in texts["returns/returns-policy-2026.md"]
        assert "to 28 february 2026" in texts["returns/returns-policy-2024.md"]


class TestProducts:
    def test_same_seed_same_products_and_another_seed_others(self) -> None:
        assert generate_products(200) == generate_products(200)
        assert generate_products(200) != generate_products(200, seed=8)

    def test_a_smaller_catalogue_is_a_prefix(self, products: list[Product]) -> None:
        assert generate_products(50) == products[:50]

    def test_a_negative_count_is_refused(self) -> None:
        with pytest.raises(ValueError, match="must not be negative"):
            generate_products(-1)

    def test_ids_and_texts_differ(self, products: list[Product]) -> None:
        assert len(products) == 5000
        assert len({product.id for product in products}) == 5000
        assert len({product.text for product in products}) == 5000

    def test_texts_have_the_promised_length_and_no_gaps(self, products: list[Product]) -> None:
        for product in products:
            assert MIN_WORDS <= len(product.text.split()) <= MAX_WORDS
            assert not re.search(
                r"[{}]|  | [,.]|\ba [aeio]|\bA [aeio]",
                product.text.replace(" a one-piece", "").replace("A one-piece", ""),
            ), product.text

    def test_every_category_and_pattern_occurs(self, products: list[Product]) -> None:
        sold = {(product.department, product.category) for product in products}
        assert sold == {(c.department, c.name) for c in load_catalogue().categories}
        assert min(Counter(product.pattern for product in products).values()) >= 10

    def test_combinations_are_plausible(self, products: list[Product]) -> None:
        for product in products:
            made_in = load_catalogue().materials[product.material]
            if product.department != "home":
                assert product.season in made_in.seasons
            if product.category == "swimwear":
                assert product.material == "recycled polyamide"
            if product.material in {"leather", "suede", "down"}:
                assert product.pattern == "solid"
            if "beach" in product.occasions:
                assert product.season in {"summer", "all year"}
            assert 2.9 <= product.rating <= 5.0
            assert 800 <= product.price_cents <= 600_000

    def test_sizes_are_in_the_size_charts(self, products: list[Product]) -> None:
        women = {row["size_eu"] for row in rows("guides/size-chart-women.csv")}
        men = {row["letter"] for row in rows("guides/size-chart-men.csv")}
        kids = {row["size_cm"] for row in rows("guides/size-chart-kids.csv")}
        shoes = {row["eu"] for row in rows("guides/shoe-sizes.csv")}
        charts = {"women": women, "men": men, "kids": kids}
        for product in products:
            if product.group == "clothing":
                assert set(product.sizes) <= charts[product.department]
            elif product.group == "shoes":
                assert set(product.sizes) <= shoes
            assert product.sizes

    def test_stock_is_in_stores_that_carry_the_group(self, products: list[Product]) -> None:
        known = {row["store_id"] for row in rows("stores/stores.csv")}
        for product in products:
            for store, count in product.stock:
                assert store in known
                assert product.group in CARRIED[store]
                assert count > 0
            if product.group == "furniture":
                assert not {"gal1", "utr1", "lil1"} & {store for store, _ in product.stock}

    def test_a_floral_article_often_does_not_say_so(self, products: list[Product]) -> None:
        floral = [product for product in products if product.pattern == "floral"]
        silent = [p for p in floral if "floral" not in (p.title + p.text).lower()]
        assert 0.2 < len(silent) / len(floral) < 0.8

    def test_documents_have_flat_metadata(self, products: list[Product]) -> None:
        document = products[0].as_document()
        assert set(document) == {"id", "title", "text", "metadata"}
        metadata = document["metadata"]
        assert isinstance(metadata, dict)
        for value in metadata.values():
            assert isinstance(value, str | int | float) or (
                isinstance(value, list) and all(isinstance(item, str) for item in value)
            )
        assert metadata["price"] == products[0].price_cents / 100


class TestHelpQuestions:
    def test_there_are_enough_of_both_kinds(self) -> None:
        questions = help_questions()
        assert sum(question.answerable for question in questions) >= 100
        assert sum(not question.answerable for question in questions) >= 12
        assert len({question.id for question in questions}) == len(questions)
        assert len({question.text for question in questions}) == len(questions)

    def test_evidence_stands_in_the_first_relevant_document(self) -> None:
        for question in load_help_questions():
            if question.answerable:
                assert question.evidence is not None
                assert question.answer
                assert set(question.relevant.values()) <= {1, 2}
                assert set(question.relevant) <= set(help_texts()), question.id
                best = next(iter(question.relevant))
                assert question.relevant[best] == 2
                assert plain(question.evidence) in help_texts()[best], question.id

    def test_no_other_document_holds_the_evidence_unjudged(self) -> None:
        for question in load_help_questions():
            if question.evidence is not None:
                holders = {d for d, t in help_texts().items() if plain(question.evidence) in t}
                assert holders <= set(question.relevant), question.id

    def test_unanswerable_questions_ask_for_what_no_document_mentions(self) -> None:
        for question in load_help_questions():
            if not question.answerable:
                assert question.absent
                assert not question.relevant
                assert not any(question.absent in text for text in help_texts().values())


SINGLE_VALUED = {
    "categories": "category",
    "departments": "department",
    "colours": "colour",
    "patterns": "pattern",
    "materials": "material",
    "seasons": "season",
}


def meets(metadata: dict[str, Any], criteria: dict[str, Any]) -> bool:
    """The meaning of criteria, written a second time and over the documents' metadata."""
    for name, value in criteria.items():
        field = SINGLE_VALUED.get(name.removeprefix("without_"))
        if field is not None:
            met = (metadata[field] in value) != name.startswith("without_")
        elif name == "occasions":
            met = any(occasion in metadata["occasions"] for occasion in value)
        elif name in {"size", "store"}:
            met = value in metadata[name + "s"]
        elif name == "min_rating":
            met = metadata["rating"] >= value
        else:
            price = round(metadata["price"] * 100)
            met = {"min_price_cents": price >= value, "max_price_cents": price <= value}[name]
        if not met:
            return False
    return True


class TestProductQuestions:
    def test_truth_is_every_product_that_meets_the_criteria(self, corpus: Corpus) -> None:
        documents = read_jsonl(corpus.products_file)
        files = corpus.evaluation["products"]
        qrels = read_qrels(files.qrels)
        for query in read_jsonl(files.queries):
            metadata = query["metadata"]
            if not metadata["answerable"]:
                assert query["id"] not in qrels
                continue
            ideal = metadata.get("ideal", {})
            expected = {
                document["id"]: 2 if meets(document["metadata"], ideal) else 1
                for document in documents
                if meets(document["metadata"], metadata["criteria"])
            }
            assert qrels[query["id"]] == expected
            assert 1 <= len(expected) <= 40

    def test_all_hand_written_requests_are_used_with_the_default_seed(
        self, products: list[Product]
    ) -> None:
        questions = product_questions(products)
        used = {question.extra["need"] for question in questions if question.answerable}
        assert {request.key for request in load_requests().answerable} <= used
        assert sum(question.answerable for question in questions) == 100
        assert sum(not question.answerable for question in questions) >= 13
        assert len({question.id for question in questions}) == len(questions)

    def test_impossible_requests_match_nothing(self, products: list[Product]) -> None:
        for request in load_requests().impossible:
            assert not any(request.need.matches(product) for product in products), request.key

    def test_what_is_not_sold_is_not_mentioned(self, products: list[Product]) -> None:
        for other in load_requests().not_sold:
            word = re.compile(rf"\b{re.escape(other.absent)}\b", re.IGNORECASE)
            assert not any(word.search(p.title + " " + p.text) for p in products), other.key

    @pytest.mark.parametrize(("count", "seed"), [(0, 7), (30, 7), (1500, 3)])
    def test_other_catalogues_have_questions_too(self, count: int, seed: int) -> None:
        questions = product_questions(generate_products(count, seed), seed)
        answerable = [question for question in questions if question.answerable]
        assert all(1 <= len(question.grades) <= 40 for question in answerable)
        assert len(answerable) == (100 if count == 1500 else len(answerable))
        assert (count == 0) == (not answerable)


class TestWriteCorpus:
    def test_it_writes_what_it_says(self, corpus: Corpus) -> None:
        written = [path for path in corpus.help_folder.rglob("*") if path.is_file()]
        assert len(written) == corpus.help_files == len(help_files())
        for path in help_files():
            copy = corpus.help_folder / path.relative_to(DOCUMENTS)
            assert copy.read_bytes() == path.read_bytes()
        assert len(read_jsonl(corpus.products_file)) == corpus.products == 5000

    def test_evaluation_files_are_complete_and_consistent(self, corpus: Corpus) -> None:
        total = 0
        known = {
            "help": set(help_texts()),
            "products": {record["id"] for record in read_jsonl(corpus.products_file)},
        }
        for name, files in corpus.evaluation.items():
            queries, qrels = read_jsonl(files.queries), read_qrels(files.qrels)
            answerable = {q["id"] for q in queries if q["metadata"]["answerable"]}
            assert all(query["metadata"]["collection"] == name for query in queries)
            assert set(qrels) == answerable
            assert len(queries) == files.questions
            assert len(answerable) == files.answerable
            assert sum(map(len, qrels.values())) == files.judgments
            assert set().union(*qrels.values()) <= known[name]
            total += len(queries)
        assert total >= 200

    def test_writing_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first = write_corpus(tmp_path / "a", products=300, seed=5)
        second = write_corpus(tmp_path / "b", products=300, seed=5)
        assert first.products_file.read_bytes() == second.products_file.read_bytes()
        for name in first.evaluation:
            one, two = first.evaluation[name], second.evaluation[name]
            assert one.queries.read_bytes() == two.queries.read_bytes()
            assert one.qrels.read_bytes() == two.qrels.read_bytes()

    def test_importing_the_package_loads_no_generator(self) -> None:
        code = (
            "import sys, ragstone.sample;"
            "print([m for m in sys.modules if m.startswith('ragstone.sample.')])"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == "[]"
