// Package mail tells an operator of errors by mail.
//
// A [Mailer] gets a copy of each line of the level error by a [slog.Handler] around that of the log: of panics, of requests
// that failed by a fault of the registry or of what it keeps its data in, and of work in the background. What clients do
// wrong is none, nor is the 503 of a server that stops. Lines of one kind are counted, and the first few of them are in the mail;
// there is at most one mail a minute. Nobody who logs ever waits for it.
package mail

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// A Mailer sends mail about errors. It is safe for concurrent use.
type Mailer struct {
	cfg   Config
	box   *letterbox
	host  string // of this machine
	log   *slog.Logger
	stop  context.CancelFunc
	ended chan struct{}
	added chan struct{} // has a token when there is something to tell
	mu    sync.Mutex
	heap  heap // guarded by mu
	sent  time.Time
	lost  bool // whether the last mail could not be sent; of the goroutine that does it
}

// Open returns a mailer, or nil if nobody wants mail. log is for its own failures: lines there are not mailed. A server that does
// not answer is told of there, once. The caller closes the mailer.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Mailer, error) {
	box, err := cfg.open()
	if box == nil || err != nil {
		return nil, err
	}
	cfg.Interval, cfg.Gather = cmp.Or(cfg.Interval, time.Minute), cmp.Or(cfg.Gather, 2*time.Second)
	if cfg.Mask == nil {
		cfg.Mask = func(text string) string { return text }
	}
	if cfg.RequestID == nil {
		cfg.RequestID = func(context.Context) string { return "" }
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	if cfg.Sent == nil {
		cfg.Sent = func(int, int, error) {}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	m := &Mailer{cfg: cfg, box: box, host: host, log: log, stop: stop, ended: make(chan struct{}), added: make(chan struct{}, 1)}
	go m.run(ctx)
	return m, nil
}

// Close sends what is left to tell, unless the last mail was just sent, and ends the mailer. It gives up when ctx ends.
func (m *Mailer) Close(ctx context.Context) {
	m.stop()
	<-m.ended
	if time.Since(m.sent) >= m.cfg.Interval && !m.lost {
		m.send(ctx)
	}
}

// run sends mail, one after the other.
func (m *Mailer) run(ctx context.Context) {
	defer close(m.ended)
	m.greet(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.added:
		}
		if !rest(ctx, m.cfg.Gather) {
			return
		}
		m.send(ctx)
		if !rest(ctx, m.cfg.Interval) {
			return
		}
		m.mu.Lock()
		if m.heap.lines > 0 {
			m.wake()
		}
		m.mu.Unlock()
	}
}

// rest waits for d. It returns false if ctx ends before.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// greet finds out at the start whether the server answers.
func (m *Mailer) greet(ctx context.Context) {
	err := m.box.client.DialWithContext(ctx)
	if err == nil {
		err = m.box.client.Close()
	}
	if ctx.Err() == nil {
		m.note(err)
	}
}

// note logs the first failure, and the first success after it.
func (m *Mailer) note(err error) {
	if err != nil && !m.lost {
		m.log.Error("mail about errors cannot be sent", "smtp_host", m.cfg.Host, "err", m.cfg.Mask(err.Error()))
	} else if err == nil && m.lost {
		m.log.Info("mail about errors can be sent again", "smtp_host", m.cfg.Host)
	}
	m.lost = err != nil
}

// add takes down a line of the log.
func (m *Mailer) add(ctx context.Context, r slog.Record, with []slog.Attr) {
	if id := m.cfg.RequestID(ctx); id != "" {
		with = append(slices.Clip(with), slog.String("request_id", id))
	}
	line := newLine(r, with, m.cfg.Mask)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heap.add(line)
	m.wake()
}

// wake has run look at the heap.
func (m *Mailer) wake() {
	select {
	case m.added <- struct{}{}:
	default:
	}
}

// sendTimeout bounds the conversation about one mail.
const sendTimeout = 30 * time.Second

// send sends what there is to tell. What cannot be sent waits, and what comes meanwhile is added to it.
func (m *Mailer) send(ctx context.Context) {
	m.mu.Lock()
	told := m.heap
	m.heap = heap{}
	m.mu.Unlock()
	if told.lines == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	msg, err := m.compose(told)
	if err == nil {
		m.sent = time.Now()
		err = m.box.client.DialAndSendWithContext(ctx, msg)
	}
	m.note(err)
	m.cfg.Sent(told.shown(), told.lines-told.shown(), err)
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		told.merge(m.heap)
		m.heap = told
	}
}

// compose writes a mail.
func (m *Mailer) compose(h heap) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	if err := msg.From(m.box.from); err != nil {
		return nil, err
	}
	if err := msg.To(m.box.to...); err != nil {
		return nil, err
	}
	msg.SetDate()
	msg.SetMessageID()
	msg.SetUserAgent("parfait")
	msg.SetBulk() // nobody is away because of it
	msg.Subject(h.subject(m.host))
	msg.SetBodyString(gomail.TypeTextPlain, h.text(m.host, m.cfg.About))
	return msg, nil
}

// Handler returns a handler that passes on to next what it gets, and mails what is an error.
func (m *Mailer) Handler(next slog.Handler) slog.Handler { return &handler{next: next, mailer: m} }

// A handler copies errors to a mailer.
type handler struct {
	next   slog.Handler
	mailer *Mailer
	attrs  []slog.Attr // those of With
	group  string      // a prefix of their keys
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.mailer.add(ctx, r, h.attrs)
	}
	return h.next.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.next, with.attrs = h.next.WithAttrs(attrs), slices.Clip(h.attrs)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		with.attrs = append(with.attrs, a)
	}
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	with.next, with.group = h.next.WithGroup(name), h.group+name+"."
	return &with
}
