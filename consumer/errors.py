"""Everything this package raises on purpose.

    DedupError
    ├── SettingsError        a setting, profile or argument is wrong: says the key and the fix
    ├── RejectedError        one message cannot be read: becomes a dead letter, the stream goes on
    ├── ModelError           a model is missing, or is not the one its spec.json describes
    ├── SnapshotError        an index snapshot is damaged or foreign: it is refused and rebuilt
    ├── FencedError          another matcher owns this scope now: stop writing
    ├── LostWritesError      the store forgot what it had acknowledged: start over from what it holds
    ├── BrokerError          Kafka refused: a person has to change something
    │   └── BrokerAwayError  … or did not answer: a TransientError too
    ├── TransientError       a broker or Redis is away: waited out, never swallowed
    │   ├── BrokerAwayError
    │   └── StoreError
    └── TooManyRejectsError  so many dead letters in a row that something upstream is broken

The command line prints the message of any of them and exits non-zero; anything else is a defect of ours.
"""


class DedupError(Exception):
    """Base of every error a user may see; its message says what, where and what to do."""


class SettingsError(DedupError):
    """A setting, profile or argument is wrong. The message lists every fault found, one a line."""


class RejectedError(DedupError):
    """A message cannot be read. The message is the reason written to the dead-letter topic; no payload in it."""


class ModelError(DedupError):
    """A model folder is missing, incomplete, or its bytes differ from its spec.json."""


class SnapshotError(DedupError):
    """A snapshot of an index cannot be used; the index is rebuilt from the vectors topic."""


class FencedError(DedupError):
    """A newer epoch owns the scope; this process must drop what it holds of it."""


class LostWritesError(DedupError):
    """The store is older than it said it was, as after a failover to a replica that lagged; a restart mends it."""


class TransientError(DedupError):
    """A service this process depends on does not answer; the same call may succeed later."""


class BrokerError(DedupError):
    """Kafka refused, and will until a person changes something."""


class BrokerAwayError(BrokerError, TransientError):
    """Kafka did not answer, or not in time, or could not finish; the same call may succeed later."""


class StoreError(TransientError):
    """Redis refused or did not answer."""


class TooManyRejectsError(DedupError):
    """More consecutive messages were rejected than `limits.consecutive_rejects` allows."""
