// Package clientbench compares two clients for Redis as a broker uses one: see
// docs/adr/0011-the-redis-client.md. It is a module of its own, as one of them is used
// nowhere else.
package clientbench
