"""A deployment on servers that trust nobody, a user for each role, with the rights that `dedup acls` prints."""

from pathlib import Path
from typing import Any

from consumer.acls import kafka_grants, redis_rules
from consumer.profile import load_profile
from consumer.settings import load_settings
from consumer.wiring import create_topics
from tests.deployment import PERSON, QUICK_SESSIONS, Deployment
from tests.secure_services import SecureKafka, SecureRedis

PASSWORD = "Zqpassword-of-ours"


class SecureDeployment(Deployment):
    """A deployment on servers that trust nobody; the test itself looks on as their administrator."""

    def __init__(self, name: str, kafka: SecureKafka, redis: SecureRedis, folder: Path, **changes: Any) -> None:
        self.secure_kafka, self.secure_redis = kafka, redis
        super().__init__(name, kafka.address, redis.admin_url, folder, PERSON, **changes)
        self.environment |= {"DEDUP_TOPICS__CREATE": "false", "DEDUP_TOPICS__PARTITIONS": "2", **QUICK_SESSIONS}
        del self.environment["DEDUP_REDIS__URL"]
        settings = load_settings(
            None,
            {
                "profile": self.environment["DEDUP_PROFILE"],
                "kafka.group": name,
                "redis.prefix": name,
                **{f"topics.{n}": f"{name}.{n}" for n in ("feedback", "events", "clusters", "possible")},
            },
        )
        chosen = load_profile(settings.profile)
        for role, grants in kafka_grants(settings, chosen).items():
            kafka.add_user(f"{name}-{role}", PASSWORD, grants)
        for role, rules in redis_rules(settings, chosen).items():
            redis.set_user(f"{name}-{role}", PASSWORD, rules)

    def clients(self) -> dict[str, str | bool | int]:
        return {**super().clients(), **self.secure_kafka.admin_properties}

    def as_role(self, role: str, password: str = PASSWORD) -> dict[str, str]:
        """The environment of one who has that role and no other."""
        user = f"{self.name}-{role}"
        given = self.secure_kafka.properties(user, password)
        properties = {f"DEDUP_KAFKA__PROPERTIES__{name.upper().replace('.', '_')}": v for name, v in given.items()}
        return {**properties, "DEDUP_REDIS__URL": self.secure_redis.url(user, password)}

    def create_topics(self) -> None:
        """As the administrator."""
        where = {"kafka.bootstrap_servers": self.servers, "kafka.properties": self.secure_kafka.admin_properties}
        topics = {f"topics.{n}": f"{self.name}.{n}" for n in ("feedback", "events", "clusters", "possible")}
        settings = load_settings(None, {**where, **topics, "topics.partitions": 2})
        made = create_topics(settings, load_profile(self.environment["DEDUP_PROFILE"]))
        assert {outcome for _, outcome in made} == {"created"}
