package redisbroker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// certificate writes a new certificate for this machine and its key to files in dir.
func certificate(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), pool
}

func TestAConfiguredClientBringsTLSAndAPassword(t *testing.T) {
	cert, key, pool := certificate(t, t.TempDir())
	s := redistest.Start(t, "--tls-port", "0", "--requirepass", "secret", "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	secure := redistest.FreePort(t)
	s.CLI("-a", "secret", "--no-auth-warning", "CONFIG", "SET", "tls-port", secure)
	addr := net.JoinHostPort("127.0.0.1", secure)
	b := newBroker(t, rueidis.ClientOption{
		InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true, Password: "secret",
		TLSConfig: &tls.Config{RootCAs: pool},
	}, &fast)
	var r recorder
	subscribe(t, b, &r, "a")
	publish(t, b, saved("a", "1"))
	until(t, "delivery", func() bool { return len(r.seqs("a")) == 1 })
	s.CLI("-a", "secret", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "pubsub")
	until(t, "Interrupted", func() bool { return r.count("a", "interrupted") == 1 })
	publish(t, b, saved("a", "2"))
	until(t, "delivery", func() bool { return len(r.seqs("a")) == 2 })

	for name, url := range map[string]string{
		"no password":                 s.URL(),
		"wrong password":              "redis://:wrong@" + s.Addr(),
		"a certificate nobody trusts": "rediss://:secret@" + addr,
	} {
		b := open(t, url, nil)
		err := b.Subscribe(within(t, redistest.Patience), "a", &r)
		if err == nil {
			t.Errorf("%s: subscribed", name)
		}
		wantErr(t, err, wschannels.ErrUnavailable)
		t.Logf("%s: %v", name, err)
	}
}
