"""Sealed records open where they belong, with a key that is known, and nowhere else."""

import base64
import multiprocessing
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Secret, Settings, SettingsError
from app.storage.encryption import KEY_FILE, Keyring, SealError

OLD, NEW = b"o" * 32, b"n" * 32
AAD = b"cluster|c1|1"


@given(st.binary(max_size=10_000), st.binary(max_size=100))
def test_what_was_sealed_opens_with_the_same_place(plaintext, aad):
    keyring = Keyring([OLD])
    assert keyring.open(keyring.seal(plaintext, aad), aad) == plaintext


@pytest.mark.case("S71")
def test_a_record_moved_to_another_row_does_not_open():
    sealed = Keyring([OLD]).seal(b"secret", AAD)
    with pytest.raises(SealError):
        Keyring([OLD]).open(sealed, b"cluster|c2|1")


@pytest.mark.parametrize("place", [0, 1, 8, 9, 30, 69, 75, -1])
def test_a_changed_byte_anywhere_does_not_open(place):
    sealed = bytearray(Keyring([OLD]).seal(b"secret", AAD))
    sealed[place] ^= 1
    with pytest.raises(SealError):
        Keyring([OLD]).open(bytes(sealed), AAD)


@given(st.integers(0, 120))
def test_a_cut_record_does_not_open(length):
    sealed = Keyring([OLD]).seal(b"secret" * 20, AAD)
    with pytest.raises(SealError):
        Keyring([OLD]).open(sealed[:length], AAD)


@pytest.mark.case("S71")
def test_after_rotation_no_record_is_under_the_old_key_and_all_still_open():
    records = {b"row|%d" % number: b"secret %d" % number for number in range(1000)}
    sealed = {aad: Keyring([OLD]).seal(plaintext, aad) for aad, plaintext in records.items()}

    both = Keyring([NEW, OLD])
    rotated = {aad: record if both.is_current(record) else both.rewrap(record, aad) for aad, record in sealed.items()}
    again = {aad: both.rewrap(record, aad) for aad, record in rotated.items()}

    assert all(both.is_current(record) for record in again.values())
    assert {aad: Keyring([NEW]).open(record, aad) for aad, record in again.items()} == records
    with pytest.raises(SealError, match="key"):
        Keyring([OLD]).open(again[b"row|1"], b"row|1")


def test_a_record_cannot_be_moved_by_rewrapping_it():
    with pytest.raises(SealError):
        Keyring([NEW, OLD]).rewrap(Keyring([OLD]).seal(b"secret", AAD), b"cluster|c2|1")


@pytest.mark.case("S71")
def test_nonces_and_data_keys_do_not_repeat():
    keyring = Keyring([OLD])
    sealed = [keyring.seal(b"x", AAD) for _ in range(20_000)]
    assert len({record[9:21] for record in sealed}) == len(sealed)
    assert len({record[69:81] for record in sealed}) == len(sealed)


def test_the_generated_key_is_private_and_the_same_at_the_next_start(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    sealed = Keyring.from_settings(settings).seal(b"secret", AAD)

    assert Keyring.from_settings(settings).open(sealed, AAD) == b"secret"
    assert stat.S_IMODE((tmp_path / "data" / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [KEY_FILE]


def test_processes_that_start_at_the_same_time_agree_on_the_generated_key(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_key, [tmp_path] * 8))) == 1


def _key(directory):
    Keyring.from_settings(Settings(data_dir=directory))
    return (directory / KEY_FILE).read_text()


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    Keyring.from_settings(Settings(data_dir=tmp_path))
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        Keyring.from_settings(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("text", ["short", base64.b64encode(b"x" * 31).decode(), "%" * 44])
def test_a_key_that_is_not_32_bytes_of_base64_is_refused_without_being_told(text, tmp_path):
    with pytest.raises(SettingsError) as refusal:
        Keyring.from_settings(Settings(data_dir=tmp_path, encryption_key=Secret(text)))
    assert text not in str(refusal.value)


def test_the_settings_may_name_the_new_and_the_old_key():
    def text(*keys):
        return Settings(encryption_key=Secret(",".join(base64.b64encode(key).decode() for key in keys)))

    sealed = Keyring.from_settings(text(OLD)).seal(b"secret", AAD)
    both = Keyring.from_settings(text(NEW, OLD))
    assert both.open(sealed, AAD) == b"secret"
    assert not both.is_current(sealed)
