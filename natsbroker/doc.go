// Package natsbroker has boxes of several processes act as one, by way of NATS with JetStream,
// version 2.12 or newer. It is a [wschannels.Broker] with history, requests, mailboxes and
// presence:
//
//	package main
//
//	import (
//		"log"
//		"net/http"
//
//		"github.com/wschannels/wschannels"
//		"github.com/wschannels/wschannels/natsbroker"
//	)
//
//	func main() {
//		broker, err := natsbroker.Open("nats://10.0.0.1,nats://10.0.0.2,nats://10.0.0.3", &natsbroker.Options{
//			Prefix:   "chat",
//			Replicas: 3,
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		box, err := wschannels.New(&wschannels.Options{Broker: broker})
//		if err != nil {
//			log.Fatal(err)
//		}
//		log.Fatal(http.ListenAndServe(":8080", box))
//	}
//
// TLS, credentials and all else that concerns the connection are the application's: see [New].
// Package embed, beneath this one, runs the server itself within the application.
//
// # What is in NATS
//
// With the default prefix: the streams wschannels-order, wschannels-mail and
// wschannels-presence, made when they are needed; their subjects, wschannels.g.>,
// wschannels.m.> and wschannels.p.>; and wschannels.d.> and wschannels.r.>, on which nodes
// subscribe. A user of NATS that an application logs in as needs those, $JS.API.>,
// $JS.EVENT.ADVISORY.STREAM.> and _INBOX.>. Who may publish there is trusted, and can do harm:
// but what is plainly no broker's is dropped, and told of.
//
// # What it promises, and what not
//
// All that [wschannels.Broker] says. With Replicas 3 the order, the history, mailboxes and
// presence survive any one server. With 1, what a dead server had is away until that is back,
// and calls fail meanwhile.
//
// A saved message lives no longer than Options.Retain. A mailbox holds no more than one message
// of NATS carries (max_payload, 1 MiB unless configured), and neither does one publication.
//
// Within a cluster of NATS servers, interest spreads by itself: a request within the first
// milliseconds of a Listen, from a node at another server, may find nobody, and one within the
// milliseconds around an Unlisten may get no answer.
package natsbroker
