from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.data.sources.address import (
    file_name,
    is_address,
    is_left_out,
    parent,
    path_of_file_address,
    printable,
    without_secrets,
)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/photos/labels.csv", "https://host/photos/labels.csv"),
        ("https://me:word@host/a.csv", "https://host/a.csv"),
        ("https://ghp_token@host/a.csv", "https://host/a.csv"),
        ("ftp://me:word@host/a", "ftp://host/a"),
        ("https://host/a.csv?id=5#part", "https://host/a.csv?id=5"),
        ("https://host/a.csv?X-Amz-Date=1&X-Amz-Signature=ab12", "https://host/a.csv?..."),
        ("https://host/a.csv?X-Goog-Signature=ab12", "https://host/a.csv?..."),
        ("https://account.blob.host/a.csv?sv=2024&sr=b&sig=ab%2F12", "https://account.blob.host/a.csv?..."),
        ("https://host/a.csv?Expires=1&Key-Pair-Id=K", "https://host/a.csv?..."),
        ("https://host/a.csv?alt=media&token=ab", "https://host/a.csv?..."),
        ("https://host/a.csv?v=0123456789abcdef0123456789abcdef", "https://host/a.csv?..."),
        ("s3://bucket/a.csv?versionId=0123456789abcdef0123456789abcdef",) * 2,
        ("abfs://container@account.host/a", "abfs://container@account.host/a"),
        ("github://owner:repository@main/a", "github://owner:repository@main/a"),
        ("s3://bucket/a@b:c/d", "s3://bucket/a@b:c/d"),
    ],
)
def test_what_gives_access_is_not_shown(address: str, shown: str) -> None:
    assert printable(address) == shown
    assert is_left_out(shown) == shown.endswith("?...")
    assert without_secrets(f"403, url='{address}' denied") == f"403, url='{shown}' denied"


SECRET = st.text(st.characters(min_codepoint=48, max_codepoint=122, categories=["Lu", "Ll", "Nd"]), min_size=8)


@given(
    user=SECRET,
    password=SECRET,
    signature=SECRET,
    key=st.sampled_from(["sig", "Signature", "token", "X-Amz-Signature"]),
)
def test_no_secret_is_left_in_a_message(user: str, password: str, signature: str, key: str) -> None:
    address = f"https://{user}X:{password}X@host.example/a.csv?b=1&{key}={signature}X"
    for shown in (printable(address), without_secrets(f"there is no {address}, sorry")):
        assert f"{password}X" not in shown
        assert f"{signature}X" not in shown
        assert "host.example/a.csv" in shown


@pytest.mark.parametrize("text", ["/a/b", "photos", "C:\\photos", "a:b", "://x", "photos/a://b", "1http://x"])
def test_paths_are_no_addresses(text: str) -> None:
    assert not is_address(text)


def test_parts_of_addresses() -> None:
    assert file_name("https://host/a%20b/my%20labels.csv?id=5") == "my labels.csv"
    assert file_name("s3://bucket/a/labels.csv?versionId=x") == "labels.csv"
    assert file_name("s3://bucket/why?.csv") == "why?.csv"
    assert parent("https://me:word@host/a/labels.csv?id=5/6") == "https://me:word@host/a"
    assert parent("s3://bucket/labels.csv") == "s3://bucket"


def test_file_addresses_are_paths_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "my photos").mkdir()
    (tmp_path / "50%20").mkdir()
    assert path_of_file_address(f"file://{tmp_path}/my%20photos") == tmp_path / "my photos"
    assert path_of_file_address(f"file://{tmp_path}/my photos") == tmp_path / "my photos"
    assert path_of_file_address(f"file://localhost{tmp_path}/50%20") == tmp_path / "50%20"
