module github.com/wschannels/wschannels/redisbroker

go 1.25.0

replace github.com/wschannels/wschannels => ../

require (
	github.com/coder/websocket v1.8.15
	github.com/google/uuid v1.6.0
	github.com/redis/rueidis v1.0.79
	github.com/wschannels/wschannels v0.0.0-00010101000000-000000000000
)

require golang.org/x/sys v0.47.0 // indirect
