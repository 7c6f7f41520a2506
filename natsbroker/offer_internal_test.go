package natsbroker

import "testing"

func TestAnOfferIsVoidOnceAnybodyElseHasPublished(t *testing.T) {
	me, other := [8]byte{1}, [8]byte{2}
	f := &offer{epoch: [8]byte{9}, after: 20}
	for name, c := range map[string]struct {
		base tail
		want bool
	}{
		"nothing has followed":                    {tail{epoch: f.epoch, node: me, at: 20}, true},
		"what followed is known to be one's own":  {tail{epoch: f.epoch, node: me, at: 30, run: 20}, true},
		"another node has published between":      {tail{epoch: f.epoch, node: me, at: 30, run: 25}, false},
		"it is not known who published between":   {tail{epoch: f.epoch, node: me, at: 30}, false},
		"another node has published last":         {tail{epoch: f.epoch, node: other, at: 30, run: 20}, false},
		"it knows more than who is to publish it": {tail{epoch: f.epoch, node: me, at: 19, run: 5}, false},
		"the order has begun anew":                {tail{epoch: [8]byte{8}, node: me, at: 20, run: 20}, false},
	} {
		if got := f.holds(&c.base, me); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(encodeOffer("room", &tail{at: 7}, []*op{{data: []byte("x"), cost: 129, save: true}, {data: []byte("y"), save: true}}))
	f.Add((&answer{shared: true, places: []uint64{3, 0}}).encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		if a, err := decodeAnswer(p, 2); err == nil {
			if again, err := decodeAnswer(a.encode(), 2); err != nil || again.places[0] != a.places[0] || again.shared != a.shared {
				t.Errorf("%x is read as %+v, and that as %+v, %v", p, a, again, err)
			}
		}
		name, o, err := decodeOffer(p)
		if err != nil {
			return
		}
		if o.left != len(o.ops) || o.left == 0 {
			t.Errorf("%x: %d of %d", p, o.left, len(o.ops))
		}
		body := encodeOffer(name, &tail{epoch: o.epoch, at: o.after}, o.ops)
		if again, o2, err := decodeOffer(body); err != nil || again != name || len(o2.ops) != len(o.ops) {
			t.Errorf("%x is read as %q and %d, and that as %q, %v", p, name, len(o.ops), again, err)
		}
	})
}
