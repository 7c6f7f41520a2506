module github.com/wschannels/wschannels/examples/cluster

go 1.25.0

replace (
	github.com/wschannels/wschannels => ../..
	github.com/wschannels/wschannels/natsbroker => ../../natsbroker
	github.com/wschannels/wschannels/redisbroker => ../../redisbroker
)

require (
	github.com/coder/websocket v1.8.15
	github.com/google/uuid v1.6.0
	github.com/wschannels/wschannels v0.0.0-00010101000000-000000000000
	github.com/wschannels/wschannels/natsbroker v0.0.0-00010101000000-000000000000
	github.com/wschannels/wschannels/redisbroker v0.0.0-00010101000000-000000000000
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.7.2-default-no-op // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/klauspost/compress v1.19.2 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nats-server/v2 v2.12.15 // indirect
	github.com/nats-io/nats.go v1.53.1 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)
