"""The audit of real photos with planted faults, from the command line to the manifest that a plan makes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eyebright.cli.main import main
from eyebright.data.audit.findings import Audit
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.audit import AuditFolder, audit
from eyebright.jobs.train import train

QUICK: dict[str, Any] = {"recipe": "scratch", "epochs": 1, "size": 32, "allow_bad": "5%"}


@pytest.fixture(scope="module")
def faulty(flowers_sample: Path, natural_twins: set[frozenset[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photos divided by their owner, with a leak, a repeat, a broken file and a stray."""
    root = tmp_path_factory.mktemp("faulty") / "photos"
    twins = {name for pair in natural_twins for name in pair}
    for name in ("daisy", "tulip"):
        photos = [photo for photo in sorted((flowers_sample / name).iterdir()) if photo.name not in twins]
        for split, part in (("train", photos[:20]), ("val", photos[20:28]), ("test", photos[28:36])):
            (root / split / name).mkdir(parents=True)
            for photo in part:
                shutil.copyfile(photo, root / split / name / photo.name)
    daisies = sorted((root / "train" / "daisy").iterdir())
    with Image.open(daisies[0]) as photo:
        photo.crop((8, 8, 120, 120)).save(root / "test" / "daisy" / "leak.jpg", quality=80)
    shutil.copyfile(daisies[1], root / "train" / "daisy" / "repeat.jpg")
    (root / "train" / "tulip" / "cut.jpg").write_bytes(daisies[2].read_bytes()[:1500])
    (root / "train" / "tulip" / "notes.txt").write_text("to be sorted")
    return root


@pytest.fixture(scope="module")
def audited(faulty: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EYEBRIGHT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return audit(open_source(faulty), output=tmp_path_factory.mktemp("audits"), name="photos")


def test_every_planted_fault_is_found(audited: AuditFolder) -> None:
    found = {finding.code: finding for finding in audited.audit.findings}
    assert found["near-duplicates-across-splits"].severity == "critical"
    assert found["near-duplicates-across-splits"].count == 1
    assert found["exact-duplicates"].count == 1
    assert found["files-truncated"].count == 1
    strays = {ref.source for example in found["stray-files"].examples for ref in example.images}
    assert strays == {"train/tulip/notes.txt"}
    assert audited.audit.worst() == "critical"


def test_the_leak_s_training_copy_is_suggested_for_dropping(audited: AuditFolder, faulty: Path) -> None:
    original = sorted((faulty / "train" / "daisy").iterdir())[0].name
    drops = [
        s for s in audited.audit.suggestions if s.action == "drop" and s.finding == "near-duplicates-across-splits"
    ]
    assert [drop.sources for drop in drops] == [(f"train/daisy/{original}",)]


def test_the_folder_holds_a_page_a_document_and_a_manifest(audited: AuditFolder) -> None:
    text = audited.page.read_text(encoding="utf-8")
    assert "straddle the splits" in text
    document = json.loads((audited.path / "audit.json").read_text(encoding="utf-8"))
    assert document["worst"] == "critical"
    assert document["facts"]["embedding_size"] == 224
    statuses = Manifest.read(audited.path / "manifest.parquet").table["status"].to_pylist()
    assert statuses.count("truncated") == 1


def test_nothing_in_the_data_is_touched(audited: AuditFolder, faulty: Path) -> None:
    assert sum(path.is_file() for path in faulty.rglob("*")) == 2 * 36 + 4


def test_an_audit_does_not_replace_that_of_other_data(audited: AuditFolder, flowers_sample: Path) -> None:
    from eyebright.errors import UsageError

    with pytest.raises(UsageError, match="holds the audit of"):
        audit(open_source(flowers_sample), output=audited.path.parent, name="photos")


def test_from_plan_to_a_run_without_the_leak(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["audit", str(faulty), "--fix", "plan.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {finding["code"] for finding in document["findings"] if finding["severity"] == "critical"} == {
        "near-duplicates-across-splits"
    }
    assert main(["audit", str(faulty), "--apply", "plan.yaml", "--manifest", "clean.parquet", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["images_used"] == facts["images_used_before"] - 1
    run = train(
        "clean.parquet", recipe="scratch", epochs=1, size=32, allow_bad="5%", output=tmp_path / "runs", name="c"
    )
    assert "leaks" not in run.metrics


def test_accuracy_with_and_without_leaked_images_is_reported(faulty: Path, tmp_path: Path) -> None:
    """Without embeddings: a recompressed copy, which the short form finds by its hash."""
    root = tmp_path / "photos"
    shutil.copytree(faulty, root)
    for number, photo in enumerate(sorted((root / "train" / "tulip").glob("[0-9]*"))[:3]):
        with Image.open(photo) as image:
            image.save(root / "test" / "tulip" / f"copy-{number}.jpg", quality=40)
    run = train(root, output=tmp_path / "runs", name="leaky", **QUICK)
    leaks = run.metrics["leaks"]
    assert leaks["leaked"]["images"] == 4  # these three and the one that is there already
    assert leaks["clean"]["images"] == run.metrics["test"]["images"] - 4
    predictions = Predictions.read(run.file("predictions.parquet"))
    right = {
        source: label == guess
        for source, label, guess, split in zip(
            *(predictions.column(name) for name in ("source", "label", "predicted", "split")), strict=True
        )
        if split == "test"
    }
    clean = [hit for source, hit in right.items() if not Path(str(source)).name.startswith(("copy-", "leak"))]
    assert leaks["clean"]["accuracy"]["value"] == pytest.approx(sum(clean) / len(clean))
    report = run.report.read_text(encoding="utf-8")
    assert "Without these it is" in report
    assert "The data, looked at first" in report


def test_near_duplicates_stay_in_one_split(flowers_sample: Path, tmp_path: Path) -> None:
    """Every photo twice, the second time recompressed: no pair may straddle the division that Eyebright makes."""
    for name in ("daisy", "tulip"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for photo in sorted((flowers_sample / name).iterdir())[:30]:
            shutil.copyfile(photo, tmp_path / "data" / name / photo.name)
            with Image.open(photo) as image:
                image.save(tmp_path / "data" / name / f"copy-{photo.name}", quality=50)
    run = train(tmp_path / "data", output=tmp_path / "runs", name="twice", **QUICK)
    rows = Manifest.read(run.file("manifest.parquet")).ok
    split = dict(
        zip([Path(place).name for place in rows["source"].to_pylist()], rows["split"].to_pylist(), strict=True)
    )
    assert all(split[name] == split[f"copy-{name}"] for name in split if not name.startswith("copy-"))
    assert len(set(split.values())) == 3
    assert "leaks" not in run.metrics


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fail-on", "critical"], None),
        (["--fail-on", "grave"], "--fail-on 'grave'"),
        (["--manifest", "x.parquet"], "without --apply"),
        (["--apply", "p.yaml", "--review"], "--apply was given with"),
        (["--apply", "missing.yaml"], "there is no plan missing.yaml"),
        (["--apply", "p.yaml", "--manifest", "x.csv"], "--manifest x.csv"),
    ],
)
def test_exit_codes_and_wrong_options(
    arguments: list[str],
    said: str | None,
    faulty: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["audit", str(faulty), *arguments])
    captured = capsys.readouterr()
    if said is None:
        assert code == 3
        assert "with pictures: audits/photos/audit.html" in captured.out
    else:
        assert code in (2, 3)
        assert said in captured.err
        assert captured.out == ""


def test_class_names_that_collide_are_reported_and_merged(
    flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, first in (("Rose", 0), ("rose", 12), ("tulip", 0)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for photo in sorted((flowers_sample / name.lower()).iterdir())[first : first + 12]:
            shutil.copyfile(photo, tmp_path / "data" / name / photo.name)
    assert main(["audit", "data", "--fix", "plan.yaml"]) == 0
    plan = Path("plan.yaml").read_text(encoding="utf-8")
    start = plan.index("\nmerge:")
    Path("plan.yaml").write_text(plan[:start] + plan[start:].replace("accept: no", "accept: yes", 1), encoding="utf-8")
    assert main(["audit", "data", "--apply", "plan.yaml"]) == 0
    assert set(Manifest.read("plan.parquet").classes) in ({"Rose", "tulip"}, {"rose", "tulip"})
    assert next(iter(open_source("plan.parquet").items())).label in ("Rose", "rose", "tulip")


def test_unlabelled_images_can_be_audited(
    flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flat = tmp_path / "flat"
    flat.mkdir()
    for photo in sorted((flowers_sample / "rose").iterdir())[:12]:
        shutil.copyfile(photo, flat / photo.name)
    done = audit(open_source(flat), output=tmp_path / "audits")
    assert any("no labels" in text for text in done.audit.not_checked)
    assert {finding.section for finding in done.audit.findings} >= {"files", "duplicates"}


def test_the_review_gets_the_suggestions_and_the_pictures(
    faulty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to the server, which `tests/review` drives with a browser; then the decision stands in the plan."""
    from eyebright.review.server import ReviewServer
    from eyebright.review.session import ReviewSession

    monkeypatch.chdir(tmp_path)
    shown = []

    def decide(audit: Audit, *, images: Callable[[str], Image.Image], corrections: Path, announce: object) -> None:
        with ReviewServer(ReviewSession(audit, images=images, corrections=corrections)):
            shown.extend(images(place).size for suggestion in audit.suggestions for place in suggestion.sources)

    monkeypatch.setattr("eyebright.review.server.serve_review", decide)
    assert main(["audit", str(faulty), "--review", "--fix", "plan.yaml"]) == 0
    assert shown
    assert set(shown) <= {(128, 128), (112, 112)}
    assert "accept: yes" in Path("plan.yaml").read_text(encoding="utf-8")
    assert "plan: plan.yaml" in capsys.readouterr().out


def test_images_that_vanish_during_the_audit_are_named(
    flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyebright.errors import DataError
    from eyebright.export.embedder import Embedder

    source = open_source(shutil.copytree(flowers_sample, tmp_path / "photos"))
    embed = Embedder.embed

    def embed_later(self: Embedder, ids: Any, sources: Any, *arguments: Any, **options: Any) -> Any:
        (tmp_path / "photos" / sources[0]).write_bytes(b"")
        return embed(dataclasses.replace(self, cache=tmp_path / "cache"), ids[:2], sources[:2], *arguments, **options)

    monkeypatch.setattr(Embedder, "embed", embed_later)
    with pytest.raises(DataError, match=r"1 images were there a moment ago .* daisy/.*: empty"):
        audit(source, output=tmp_path / "audits")
