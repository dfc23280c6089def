"""`dedup run` in trouble: no secret and no personal field leaves the process."""

from pathlib import Path

from tests.deployment import PERSON, Deployment, headers_of, wait_until
from tests.services import Server
from tests.stories import assert_consistent, person

MARKS = ("Zqnamemark", "Zqcitymark", "zqredismark", "zqsaslmark", "zqkeymark", "zqrotationmark")


def test_no_secret_and_no_personal_field_leaves_the_process(
    kafka_servers: str, redis_server: Server, unique: str, tmp_path: Path
) -> None:
    deployment = Deployment(unique[-40:].strip("-"), kafka_servers, redis_server.address, tmp_path, PERSON)

    def let_in() -> None:
        with deployment.redis() as client:
            client.acl_setuser("matcher", enabled=True, passwords=["+zqredismark"], keys=["*"], commands=["+@all"])

    let_in()
    deployment.environment |= {
        "DEDUP_TOPICS__PARTITIONS": "1",
        "DEDUP_REDIS__URL": redis_server.address.replace("//", "//matcher:zqredismark@"),
        "DEDUP_KAFKA__PROPERTIES__SASL_PASSWORD": "zqsaslmark",  # unused without SASL, and known to the clients
        "DEDUP_PRIVACY__KEY": "zqkeymark",
        "DEDUP_PRIVACY__ROTATION_KEY": "zqrotationmark-of-32-characters",
        "DEDUP_LOG__LEVEL": "debug",
    }
    try:
        service = deployment.start().wait_ready()
        for n in range(20):
            deployment.send(f"record-{n}", person(f"Zqnamemark Brennan {n // 4}", "Zqcitymark"))
        deployment.send("bad", b'{"name": ["Zqnamemark"], "city": "Zqcitymark"}')
        deployment.send("worse", b'{"name": "Zqnamemark')
        deployment.settle()
        assert assert_consistent(deployment).clusters
        answers = [service.get(path)[1] for path in ("/metrics", "/livez", "/readyz")]
        redis_server.kill()
        deployment.send("later", person("Zqnamemark Brennan", "Zqcitymark"))
        deployment.flush()
        wait_until(lambda: service.get("/readyz")[0] == 503, "says that it waits")
        answers.append(service.get("/readyz")[1])
        assert "Redis" in answers[-1]
        redis_server.start()
        let_in()  # users live in memory
        deployment.settle()
        assert service.stop() == 0

        wrong = {"DEDUP_REDIS__URL": redis_server.address.replace("//", "//matcher:zqredismark-wrong@")}
        refused = deployment.start(**wrong)
        wait_until(lambda: "NOAUTH" in refused.get("/readyz")[1] or "password" in refused.get("/readyz")[1], "refused")
        answers.append(refused.get("/readyz")[1])
        assert refused.stop() == 0
        said = "\n".join([*answers, service.stdout, service.stderr, refused.stdout, refused.stderr])
        topics = [deployment.vectors, f"{deployment.name}.events", f"{deployment.name}.possible"]
        topics.append(f"{deployment.name}.clusters")
        sent = b"\n".join(m.value() or b"" for topic in topics for m in deployment.read(topic))
        letters = repr([headers_of(m) for m in deployment.dead_letters()])
        everything = (said + sent.decode(errors="replace") + letters + deployment.dump().decode()).lower()
        assert [mark for mark in MARKS if mark.lower() in everything] == []
        assert "Traceback" not in said
    finally:
        deployment.close()
