"""Real servers that trust nobody: Kafka with TLS, SCRAM and its authorizer; Redis with TLS and users.

`secure_kafka()` and `secure_redis()` yield a `SecureServer` whose users and rights the test sets, as an operator would.
Certificates are made here, for an hour, by an authority of the test's own.
"""

import datetime as dt
import ipaddress
import secrets
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis as redis_client
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumer.acls import Grant
from tests.services import (
    START_SECONDS,
    MissingServiceError,
    Server,
    _free_port,
    _redis_command,
    _redis_program,
    _running,
    java_program,
    kafka_jars,
)

ADMIN = "admin"
_ITERATIONS = 4096
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}


class Authority:
    """A certificate authority and the folder its files lie in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {secrets.token_hex(4)}")])
        usage = x509.BasicConstraints(ca=True, path_length=None)
        certificate = _certificate(self._name, self._key.public_key()).add_extension(usage, critical=True)
        self.file = folder / f"ca-{secrets.token_hex(4)}.pem"
        self.file.write_bytes(_pem(certificate.issuer_name(self._name).sign(self._key, hashes.SHA256())))

    def issue(self, name: str) -> tuple[Path, Path, Path]:
        """For 127.0.0.1 under that name: the certificate, its key, and both in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
        made = _certificate(subject, key.public_key()).issuer_name(self._name).add_extension(where, critical=False)
        certificate = _pem(made.sign(self._key, hashes.SHA256()))
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files = tuple(self.folder / f"{name}.{kind}" for kind in ("crt", "key", "pem"))
        for file, content in zip(files, (certificate, secret, secret + certificate), strict=True):
            file.write_bytes(content)
        return files[0], files[1], files[2]


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
    named = x509.CertificateBuilder().subject_name(subject).public_key(key)
    return named.serial_number(x509.random_serial_number()).not_valid_before(now - hour).not_valid_after(now + hour)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


# --- Kafka ------------------------------------------------------------------------------------------------------------


class SecureKafka:
    """A broker that lets in who has a password, and to what was granted."""

    def __init__(self, address: str, authority: Authority, password: str) -> None:
        self.address = address
        self.authority = authority
        self._admin = AdminClient({"bootstrap.servers": address, "log_level": 0, **self.properties(ADMIN, password)})
        self.admin_properties = self.properties(ADMIN, password)

    def properties(self, user: str, password: str) -> dict[str, str]:
        """What a client of that user is told."""
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority.file),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password,
        }

    def add_user(self, user: str, password: str, grants: Sequence[Grant] = ()) -> None:
        """Make a user who may do this, and return once the broker knows."""
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        wanted = UserScramCredentialUpsertion(user, scram, password.encode())
        for answer in self._admin.alter_user_scram_credentials([wanted]).values():
            answer.result(START_SECONDS)
        if grants:
            for granted in self._admin.create_acls([_binding(user, grant) for grant in grants]).values():
                granted.result(START_SECONDS)

    def take_away(self, user: str, grant: Grant) -> None:
        one = _binding(user, grant)
        chosen = AclBindingFilter(
            *(one.restype, one.name, one.resource_pattern_type, one.principal, one.host, one.operation),
            one.permission_type,
        )
        for gone in self._admin.delete_acls([chosen]).values():
            assert len(list(gone.result(START_SECONDS))) == 1


def _binding(user: str, grant: Grant) -> AclBinding:
    operation = {"DescribeConfigs": AclOperation.DESCRIBE_CONFIGS}.get(grant.operation)
    return AclBinding(
        _RESOURCES[grant.resource],
        grant.name,
        ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        operation or AclOperation[grant.operation.upper()],
        AclPermissionType.ALLOW,
    )


@contextmanager
def secure_kafka() -> Iterator[SecureKafka]:
    """Apache Kafka as one KRaft node: clients by TLS and SCRAM, its controller by certificates, all rights granted."""
    java, jars = java_program(), kafka_jars()
    with tempfile.TemporaryDirectory(prefix="dedup-secure-kafka-") as folder:
        port, controller_port, password = _free_port(), _free_port(), secrets.token_hex(8)
        authority = Authority(Path(folder))
        *_, both = authority.issue("broker")
        properties, log = Path(folder) / "server.properties", Path(folder) / "kafka.log"
        filled = {"port": port, "controller_port": controller_port, "folder": folder, "password": password}
        properties.write_text(_KAFKA_PROPERTIES.format(**filled, ca=authority.file, certificate=both))
        run = [
            *(java, "-Xmx512m", "-XX:TieredStopAtLevel=1"),
            *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"),
        ]
        admin = f"SCRAM-SHA-512=[name={ADMIN},iterations={_ITERATIONS},password={password}]"
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", uuid.uuid4().hex[:22], "--add-scram", admin]
        with log.open("ab") as out:
            subprocess.run(
                [*run, *tool, "--config", str(properties)], stdout=out, stderr=out, timeout=START_SECONDS, check=True
            )
        address = f"127.0.0.1:{port}"
        secure = SecureKafka(address, authority, password)
        server = Server(address, [*run, "kafka.Kafka", str(properties)], log, lambda: _kafka_serves(secure))
        for _ in _running(server):
            yield secure


def _kafka_serves(secure: SecureKafka) -> bool:
    try:
        asker = AdminClient({"bootstrap.servers": secure.address, "log_level": 0, **secure.admin_properties})
        return bool(asker.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


_KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENTS://127.0.0.1:{port}
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=CLIENTS
log.dirs={folder}/data

ssl.keystore.type=PEM
ssl.keystore.location={certificate}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.controller.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
required username="admin" password="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:CN=broker

auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.coordinator.rebalance.protocols=classic,consumer
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
"""


# --- Redis ------------------------------------------------------------------------------------------------------------


class SecureRedis:
    """A Redis that speaks TLS only and knows nobody but its administrator."""

    def __init__(self, port: int, authority: Authority, password: str) -> None:
        self._port = port
        self.authority = authority
        self.admin_url = self.url(ADMIN, password)

    def url(self, user: str, password: str, authority: Authority | None = None) -> str:
        """What a client of that user is told."""
        return f"rediss://{user}:{password}@127.0.0.1:{self._port}/0?ssl_ca_certs={(authority or self.authority).file}"

    def set_user(self, user: str, password: str, rules: Sequence[str]) -> None:
        """Make a user who may do this and nothing else."""
        with redis_client.Redis.from_url(self.admin_url) as client:
            client.execute_command("ACL SETUSER", user, "reset", "on", f">{password}", *rules)


@contextmanager
def secure_redis() -> Iterator[SecureRedis]:
    """One Redis with TLS and an ACL file."""
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="dedup-secure-redis-") as folder:
        port, password = _free_port(), secrets.token_hex(8)
        authority = Authority(Path(folder))
        certificate, key, _ = authority.issue("redis")
        users = Path(folder) / "users.acl"
        users.write_text(f"user default off\nuser {ADMIN} on >{password} ~* &* +@all\n")
        chosen: Mapping[str, object] = {
            "tls-port": port,
            "tls-cert-file": certificate,
            "tls-key-file": key,
            "tls-ca-cert-file": authority.file,
            "tls-auth-clients": "no",
            "aclfile": users,
        }
        given = [part for name, value in chosen.items() for part in (f"--{name}", str(value))]
        tried = subprocess.run(
            [program, "--port", "0", "--tls-port", "0", "--no-such-option", "0"], capture_output=True, check=False
        )
        if b"tls-port" in tried.stdout + tried.stderr:
            msg = f"{program} was built without TLS: install Redis 6.2+ (Debian: redis-server)"
            raise MissingServiceError(msg)
        secure = SecureRedis(port, authority, password)
        command = [*_redis_command(program, 0), *given]
        server = Server(secure.admin_url, command, Path(folder) / "redis.log", lambda: _redis_serves(secure))
        for _ in _running(server):
            yield secure


def _redis_serves(secure: SecureRedis) -> bool:
    try:
        with redis_client.Redis.from_url(secure.admin_url) as client:
            return bool(client.ping())
    except redis_client.RedisError:
        return False
