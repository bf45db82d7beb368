#!/bin/sh
# Writes what ZooKeeper is told as arguments, `key=value` each, to the file that it reads, and
# becomes it. The argument `myid=` is the one that ZooKeeper has a file of its own for.
set -eu
data=/var/lib/zookeeper/data
mkdir -p "$data"
: > zoo.cfg
for line in "dataDir=$data" "$@"; do
    case $line in
    myid=*) echo "${line#myid=}" > "$data/myid" ;;
    *) echo "$line" >> zoo.cfg ;;
    esac
done
# Small, for three of them share a laptop, and quick to start: what the database of one cluster
# needs is a fraction of this heap, and nobody waits for the optimizing compiler.
exec java -Xms16m -Xmx40m -Xss256k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -XX:ReservedCodeCacheSize=16m -XX:+ExitOnOutOfMemoryError -Xshare:auto \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showShortLogName=true \
    -Djava.net.preferIPv4Stack=true \
    -cp '/opt/zookeeper/*' org.apache.zookeeper.server.quorum.QuorumPeerMain "$PWD/zoo.cfg"
