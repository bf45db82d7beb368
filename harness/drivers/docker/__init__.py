"""Local clusters in Docker: real PostgreSQL, Patroni, etcd and HAProxy on one machine."""
