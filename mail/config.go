package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Config has the keys of the group email_exceptions. The zero value of a field means its default.
type Config struct {
	// Host is the SMTP server. Default: no mail.
	Host string `yaml:"smtp_host"`
	// Port is the server's port. Default: 25, and 465 with smtp_secure: tls.
	Port int `yaml:"smtp_port"`
	// Login and Password are for a server that asks for them, and are not sent without TLS. Default: none.
	Login    string `yaml:"smtp_login"`
	Password string `yaml:"smtp_password" flavor:"secret"`
	// Secure says how TLS is spoken. Default: not at all.
	Secure Secure `yaml:"smtp_secure"`
	// From is who sends the mail. Default: docker-registry@localdomain.local.
	From string `yaml:"from_addr"`
	// To is who gets it; several are kept apart by commas.
	To string `yaml:"to_addr"`

	// Interval is the least time between two mails, and Gather how long a mail waits for more of what it is about.
	// Default: 1m and 2s.
	Interval, Gather time.Duration `yaml:"-"`
	// Mask hides what must not be in a mail. Nil hides nothing.
	Mask func(text string) string `yaml:"-"`
	// RequestID returns the id of the request that a line of the log is about, which the line does not have yet, or "". Nil
	// knows of none.
	RequestID func(ctx context.Context) string `yaml:"-"`
	// Sent, if set, is told of each mail: how many errors it shows, how many it only counts, and why it could not be sent.
	Sent func(shown, counted int, err error) `yaml:"-"`
	// About names the program and what it serves, for the mail's text.
	About string `yaml:"-"`
}

// Secure is a word, a file, or a group of files.
type Secure struct {
	// Mode is false for no TLS; true for STARTTLS, without which nothing is sent; tls, or true with port 465, for TLS from
	// the first byte; or, as docker-registry has it, the file of a key and its certificate, for STARTTLS with that.
	Mode string `yaml:"mode" flavor:"alone"`
	// KeyFile and CertFile, in PEM, show the server who this is.
	KeyFile  string `yaml:"keyfile"`
	CertFile string `yaml:"certfile"`
}

// The ways to speak TLS.
type security int

const (
	plain security = iota
	startTLS
	implicitTLS
)

// read makes sense of a Secure, given the port.
func (s Secure) read(port int) (how security, key, cert string, err error) {
	key, cert = s.KeyFile, cmp.Or(s.CertFile, s.KeyFile)
	if key == "" && cert != "" {
		return plain, "", "", errors.New("smtp_secure: certfile needs a keyfile")
	}
	mode := s.Mode
	if mode == "" && key != "" {
		mode = "true"
	}
	switch strings.ToLower(mode) {
	case "", "false", "no", "off", "0", "none":
		how = plain
	case "true", "yes", "on", "1", "starttls":
		if how = startTLS; port == portOfTLS {
			how = implicitTLS
		}
	case "tls", "ssl", "smtps":
		how = implicitTLS
	default:
		if !strings.ContainsAny(mode, "/.") {
			return plain, "", "", fmt.Errorf("smtp_secure: %q is none of false, true, starttls and tls, and no file of a key", mode)
		}
		how, key, cert = startTLS, mode, mode
	}
	return how, key, cert, nil
}

const (
	usualPort = 25
	portOfTLS = 465
)

// Or returns c, or, if that sends no mail, other, with what c has beside the host for what other lacks.
func (c Config) Or(other Config) Config {
	if c.Host != "" || other.Host == "" {
		return c
	}
	other.Port = cmp.Or(other.Port, c.Port)
	other.Login, other.Password = cmp.Or(other.Login, c.Login), cmp.Or(other.Password, c.Password)
	other.From, other.To = cmp.Or(other.From, c.From), cmp.Or(other.To, c.To)
	if other.Secure == (Secure{}) {
		other.Secure = c.Secure
	}
	return other
}

// Check returns what is wrong with c, which is nothing without a host.
func (c Config) Check() error {
	_, err := c.open()
	return err
}

// A letterbox is where mail goes.
type letterbox struct {
	client *gomail.Client
	from   string
	to     []string
}

// open makes sense of c. It returns nil if there is no host. Nothing is dialled.
func (c Config) open() (*letterbox, error) {
	if c.Host == "" {
		return nil, nil
	}
	if strings.ContainsAny(c.Host, " /:@") {
		return nil, fmt.Errorf("smtp_host: %q is no name or address of a server: its port goes to smtp_port", c.Host)
	}
	box := &letterbox{}
	from, err := netmail.ParseAddress(cmp.Or(c.From, "docker-registry@localdomain.local"))
	if err != nil {
		return nil, fmt.Errorf("from_addr: %q is no address for mail", c.From)
	}
	box.from = from.String()
	to, err := netmail.ParseAddressList(c.To)
	if err != nil || len(to) == 0 {
		return nil, fmt.Errorf("to_addr: %q is no address for mail, to which errors could be sent", c.To)
	}
	for _, a := range to {
		box.to = append(box.to, a.String())
	}
	if c.Login == "" && c.Password != "" {
		return nil, errors.New("smtp_password: whose? smtp_login is missing")
	}
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	if box.client, err = gomail.NewClient(c.Host, options...); err != nil {
		return nil, fmt.Errorf("email_exceptions: %w", err)
	}
	return box, nil
}

// dialTimeout bounds each step of a conversation with the server.
const dialTimeout = 15 * time.Second

// options are how the server is spoken to.
func (c Config) options() ([]gomail.Option, error) {
	if c.Port < 0 || c.Port > 65535 {
		return nil, fmt.Errorf("smtp_port: %d is no port", c.Port)
	}
	how, key, cert, err := c.Secure.read(c.Port)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{ServerName: c.Host, MinVersion: tls.VersionTLS12}
	if key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("smtp_secure: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	port := cmp.Or(c.Port, usualPort)
	policy := gomail.NoTLS
	if how == startTLS {
		policy = gomail.TLSMandatory
	} else if how == implicitTLS {
		port = cmp.Or(c.Port, portOfTLS)
	}
	options := []gomail.Option{gomail.WithPort(port), gomail.WithTimeout(dialTimeout), gomail.WithTLSConfig(conf), gomail.WithTLSPolicy(policy)}
	if how == implicitTLS {
		options = append(options, gomail.WithSSL())
	}
	if c.Login != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(c.Login), gomail.WithPassword(c.Password))
	}
	return options, nil
}
