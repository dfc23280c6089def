# One Kafka node for the cluster tests, run by any user: KAFKA_ADVERTISED is the host:port that clients are told, port 9092,
# data in /var/lib/kafka, which a restarted pod finds again. `jars` is a build context: what tests/kafka/pom.xml names.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends default-jre-headless \
    && rm -rf /var/lib/apt/lists/*
# hadolint ignore=DL3022
COPY --from=jars . /opt/kafka
COPY kafka.properties /etc/kafka/
COPY kafka.sh /usr/local/bin/
USER 10001:10001
EXPOSE 9092
ENTRYPOINT ["kafka.sh"]
