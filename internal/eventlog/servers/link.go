package servers

import (
	"fmt"
	"net"
	"sync"
)

// linkBuffer is what a link holds of each direction while it passes it on.
const linkBuffer = 32 << 10

// A Link is a TCP address of this process that leads to another one. Each of its
// directions can be cut: bytes are then held back, in the buffers of the two ends,
// and arrive when the cut is mended, as on a network that loses packets for a
// while. Nobody is told; a peer that waits has to find out by itself.
type Link struct {
	to       string
	listener net.Listener
	work     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
	out   gate // from who dials to who is dialled
	back  gate
}

// A gate holds one direction.
type gate struct {
	cut  bool
	open chan struct{} // closed while the direction is not cut
}

func newLink(to string) (*Link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a link: %w", err)
	}
	link := &Link{to: to, listener: l, conns: map[net.Conn]struct{}{}}
	for _, g := range []*gate{&link.out, &link.back} {
		g.open = make(chan struct{})
		close(g.open)
	}
	link.work.Go(link.run)
	return link, nil
}

// Addr is where to dial.
func (l *Link) Addr() string { return l.listener.Addr().String() }

func (l *Link) run() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", l.to)
		if err != nil || !l.keep(in, out) {
			_ = in.Close() // as the far end refuses
			if out != nil {
				_ = out.Close()
			}
			continue
		}
		l.work.Go(func() { l.pass(out, in, &l.out) })
		l.work.Go(func() { l.pass(in, out, &l.back) })
	}
}

func (l *Link) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	for _, c := range conns {
		l.conns[c] = struct{}{}
	}
	return true
}

// pass copies one direction of one connection, and ends both when it ends.
func (l *Link) pass(to, from net.Conn, g *gate) {
	defer l.drop(to, from)
	buf := make([]byte, linkBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.wait(g, to) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns true when the direction is open, false when the connection ended
// meanwhile.
func (l *Link) wait(g *gate, conn net.Conn) bool {
	for {
		l.mu.Lock()
		open, cut := g.open, g.cut
		_, alive := l.conns[conn]
		l.mu.Unlock()
		if !alive || !cut {
			return alive
		}
		<-open
	}
}

func (l *Link) drop(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		delete(l.conns, c)
		_ = c.Close()
	}
}

// set cuts or mends the two directions.
func (l *Link) set(cutOut, cutBack bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.set(cutOut)
	l.back.set(cutBack)
}

func (g *gate) set(cut bool) {
	switch {
	case cut && !g.cut:
		g.open = make(chan struct{})
	case !cut && g.cut:
		close(g.open)
	}
	g.cut = cut
}

// reset ends the connections that exist, as a router does that restarts.
func (l *Link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
		delete(l.conns, c)
	}
}

func (l *Link) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.reset()
	l.set(false, false)
	l.work.Wait()
}
