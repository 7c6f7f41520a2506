package wschannels_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
)

// wireTLSConfigs returns the configurations of a server and its client.
func wireTLSConfigs() (server, client *tls.Config) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	server = &tls.Config{Certificates: srv.TLS.Certificates, SessionTicketsDisabled: true}
	return server, srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
}

// wireDialingTLS serves h over TLS and does the handshakes.
func wireDialingTLS(t *testing.T, h http.Handler, box *ChannelBox) *wirePeer {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(func() { srv.Close(); wireShutdown(t, box) })
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	p := wireUpgrade(t, conn)
	p.send(t, wireRequest())
	p.upgraded(t)
	return p
}

// crypto/tls ends a connection with an alert, for which it waits by itself, longer
// than we may.
func TestTimeoutsHoldOverTLS(t *testing.T) {
	serverConfig, clientConfig := wireTLSConfigs()
	clientConfig.ServerName = "example.com"
	for _, tt := range []struct {
		name string
		end  func(c *Channel, p *wirePeer)
		want time.Duration
	}{
		{"WriteTimeout", func(*Channel, *wirePeer) {}, 3 * time.Second},
		{"CloseTimeout", func(c *Channel, _ *wirePeer) { c.Close(1000, "") }, 2 * time.Second},
		{"CloseNow", func(c *Channel, _ *wirePeer) { c.CloseNow() }, 0},
		{"CloseTimeout after a breach", func(_ *Channel, p *wirePeer) {
			p.send(t, []byte{0x81, 0x00})
			p.wantClose(t, 1002) // and reads nothing more, not even the alert
		}, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newWireLog()
				box := wireBox(t, &Options{Events: log.events()})
				client, server := net.Pipe()
				defer client.Close()
				shaken := make(chan error)
				tlsClient, tlsServer := tls.Client(client, clientConfig), tls.Server(server, serverConfig)
				go func() { shaken <- tlsClient.Handshake() }()
				if err := tlsServer.Handshake(); err != nil {
					t.Fatal(err)
				}
				if err := <-shaken; err != nil {
					t.Fatal(err)
				}
				c, err := box.Accept(wireHijack(tlsServer), wireUpgradeRequest(t), &ChannelOptions{
					WriteTimeout: 3 * time.Second, CloseTimeout: 2 * time.Second,
				})
				if err != nil {
					t.Fatal(err)
				}
				p := &wirePeer{Conn: tlsClient, br: bufio.NewReader(tlsClient)}
				p.send(t, wireFrame(wireFin|wirePong, nil))
				synctest.Wait()
				start := time.Now()
				if err := c.Send(t.Context(), "never read"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				tt.end(c, p)
				log.end(t)
				if d := time.Since(start); d != tt.want {
					t.Errorf("the channel was gone after %v, want %v", d, tt.want)
				}
				client.Close()
				wireShutdown(t, box)
			})
		})
	}
}
