module github.com/wschannels/wschannels/e2e

go 1.25.0

replace (
	github.com/wschannels/wschannels => ../
	github.com/wschannels/wschannels/redisbroker => ../redisbroker
)

require (
	github.com/chromedp/cdproto v0.159.2
	github.com/chromedp/chromedp v0.23.0
	github.com/coder/websocket v1.8.15
	github.com/wschannels/wschannels v0.0.0-00010101000000-000000000000
	github.com/wschannels/wschannels/redisbroker v0.0.0-00010101000000-000000000000
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/google/uuid v1.6.0 // indirect
)
