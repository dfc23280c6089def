#!/bin/sh
# Formats /var/lib/kafka where nothing has been kept, and becomes the broker.
set -eu
: "${KAFKA_ADVERTISED:?is not set: the host:port that clients are told}"
set -- java -Xmx512m -XX:+UseSerialGC -XX:-UsePerfData -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "/opt/kafka/*"
[ -e /var/lib/kafka/data/meta.properties ] ||
    "$@" kafka.tools.StorageTool format --cluster-id cluster-of-the-tests --config /etc/kafka/kafka.properties
exec "$@" kafka.Kafka /etc/kafka/kafka.properties
