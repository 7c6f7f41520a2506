package wschannels

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// A request comes back as it was, whatever was done to it on its way, but for the
// headers of the handshake.
func TestAKeptRequestIsWhatItWas(t *testing.T) {
	change := map[string]func(r *http.Request) *http.Request{
		"as it came": func(r *http.Request) *http.Request { return r },
		"prefix stripped": func(r *http.Request) (got *http.Request) {
			http.StripPrefix("/a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r })).ServeHTTP(httptest.NewRecorder(), r)
			return got
		},
		"host set":  func(r *http.Request) *http.Request { r.URL.Host = "inside"; return r },
		"no target": func(r *http.Request) *http.Request { r.RequestURI = ""; return r },
		"query set": func(r *http.Request) *http.Request { r.URL.RawQuery = "x=1"; return r },
		"no URL":    func(r *http.Request) *http.Request { r.URL = nil; return r },
	}
	for _, target := range []string{"/a", "/a?group=g&x=%20", "/a?", "/a/b%2Fc", "/a//b", "//a/b", "/a#b", "http://other/a?b", "/a/ä"} {
		for name, change := range change {
			raw := "GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUser-Agent: Browser 1\r\nAccept-Language: de\r\n" +
				"Cookie: a=1\r\nX-Twice: 1\r\nX-Twice: 2\r\nCache-Control: no-cache\r\nCache-Control: no-store\r\nX-Empty:\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
			if err != nil {
				t.Fatal(err)
			}
			r = change(r)
			if r == nil {
				continue // not for that target
			}
			type key struct{}
			ctx := context.WithValue(context.Background(), key{}, name)
			k := keepRequest(ctx, r)
			got, again := k.unpack(), k.unpack()
			r.Header.Del("Connection")
			if !reflect.DeepEqual(got.Header, r.Header) || !reflect.DeepEqual(got.URL, r.URL) {
				t.Errorf("%s, %s: %v %v, want %v %v", target, name, got.URL, got.Header, r.URL, r.Header)
			}
			if got.Method != "GET" || got.Host != r.Host || got.RequestURI != r.RequestURI || got.Context().Value(key{}) != name {
				t.Errorf("%s, %s: %+v", target, name, got)
			}
			got.Header.Add("User-Agent", "mine")
			got.Header["X-Twice"][0] = "mine"
			if got.URL != nil {
				got.URL.Path = "mine"
			}
			if !reflect.DeepEqual(again.Header, r.Header) || !reflect.DeepEqual(again.URL, r.URL) {
				t.Errorf("%s, %s: one copy changes with another: %v %v", target, name, again.URL, again.Header)
			}
		}
	}
}

// Only the application can put a 0 into a header.
func TestAKeptRequestBearsAnyHeader(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Zero", "a\x00b")
	r.Header.Set("User-Agent", "\x00")
	_ = keepRequest(context.Background(), r).unpack()
}
