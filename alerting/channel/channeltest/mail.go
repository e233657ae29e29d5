package channeltest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// EnvMail names the directory of a mail server: a test binary that finds it in its
// environment becomes one, see [ServeMail].
const EnvMail = "PANDA_TEST_MAIL_DIR"

// envMailTLS is "implicit" for TLS from the start, otherwise STARTTLS is offered.
const envMailTLS = "PANDA_TEST_MAIL_TLS"

// The files of a mail server's directory. Mails are NNNN.eml, as they came.
const (
	certFile = "cert.pem"
	keyFile  = "key.pem"
	// failFile holds the answer to every mail while it is there, such as
	// "451 try again later".
	failFile = "fail"
)

// The user and the password that a mail server knows.
const (
	MailUser     = "panda"
	MailPassword = "a password of the tests"
)

// Mail is a mail server, a process of its own.
type Mail struct {
	// Addr is host:port, and URL what panda is given.
	Addr, URL string
	// Roots hold the certificate that it shows, and RootsFile is the same as a file.
	Roots     *x509.CertPool
	RootsFile string

	dir     string
	process *exec.Cmd
}

// StartMail starts a mail server that ends with the test, as this test binary, which
// must call [ServeMail] in its TestMain. implicit is TLS from the start; otherwise it
// offers STARTTLS.
func StartMail(t testing.TB, implicit bool) *Mail {
	t.Helper()
	m := &Mail{dir: t.TempDir()}
	m.RootsFile = filepath.Join(m.dir, certFile)
	if err := makeCertificate(m.dir); err != nil {
		t.Fatalf("make certificate: %v", err)
	}
	text, err := os.ReadFile(m.RootsFile)
	if err != nil {
		t.Fatal(err)
	}
	m.Roots = x509.NewCertPool()
	m.Roots.AppendCertsFromPEM(text)
	m.start(t, "127.0.0.1:0", implicit)
	scheme := "smtp"
	if implicit {
		scheme = "smtps"
	}
	m.URL = fmt.Sprintf("%s://%s:%s@%s", scheme, MailUser, strings.ReplaceAll(MailPassword, " ", "%20"), m.Addr)
	return m
}

func (m *Mail) start(t testing.TB, addr string, implicit bool) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.process = exec.Command(self)
	m.process.Env = append(os.Environ(), EnvMail+"="+m.dir, "PANDA_TEST_MAIL_ADDR="+addr)
	if implicit {
		m.process.Env = append(m.process.Env, envMailTLS+"=implicit")
	}
	m.process.Stderr = os.Stderr
	out, err := m.process.StdoutPipe()
	if err == nil {
		_, err = m.process.StdinPipe() // its end is the end of the server
	}
	if err == nil {
		err = m.process.Start()
	}
	if err != nil {
		t.Fatalf("start mail server: %v", err)
	}
	t.Cleanup(m.Stop)
	said := bufio.NewScanner(out)
	if !said.Scan() {
		t.Fatalf("the mail server said nothing: %v", said.Err())
	}
	m.Addr = said.Text()
}

// Stop ends the server at once, as a machine that loses power does.
func (m *Mail) Stop() {
	if m.process.ProcessState == nil {
		_ = m.process.Process.Kill() // it is gone either way
		_ = m.process.Wait()
	}
}

// Again starts a server that was stopped, on the same address.
func (m *Mail) Again(t testing.TB) {
	m.start(t, m.Addr, strings.HasPrefix(m.URL, "smtps:"))
}

// Fail answers every mail so from now on, such as "451 try again later"; "" ends it.
func (m *Mail) Fail(t testing.TB, answer string) {
	t.Helper()
	path := filepath.Join(m.dir, failFile)
	err := os.Remove(path)
	if answer != "" {
		err = os.WriteFile(path, []byte(answer), 0o600)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// Mails returns the mails that were taken, in order.
func (m *Mail) Mails(t testing.TB) (mails []*netmail.Message) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		message, err := netmail.ReadMessage(strings.NewReader(string(text)))
		if err != nil {
			t.Fatalf("mail %s: %v", filepath.Base(path), err)
		}
		mails = append(mails, message)
	}
	return mails
}

// ServeMail is a mail server, if the environment asks for one, and does not return then.
func ServeMail() {
	dir := os.Getenv(EnvMail)
	if dir == "" {
		return
	}
	if err := serveMail(dir, os.Getenv("PANDA_TEST_MAIL_ADDR"), os.Getenv(envMailTLS) == "implicit"); err != nil {
		fmt.Fprintln(os.Stderr, "mail server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveMail(dir, addr string, implicit bool) error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	box := &mailbox{dir: dir}
	s := smtp.NewServer(box)
	s.Domain, s.TLSConfig, s.MaxMessageBytes, s.MaxRecipients = "localhost", config, 1<<20, 100
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // the parent is gone
		_ = s.Close()
	}()
	if implicit {
		l = tls.NewListener(l, config)
	}
	if err := s.Serve(l); !errors.Is(err, smtp.ErrServerClosed) {
		return err
	}
	return nil
}

// mailbox keeps mails as files.
type mailbox struct {
	dir string
	mu  sync.Mutex // guards the numbers of files
}

// NewSession implements smtp.Backend.
func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{box: b}, nil }

type mailSession struct {
	box    *mailbox
	signed bool
	to     []string
}

func (s *mailSession) Reset()        { s.to = nil }
func (s *mailSession) Logout() error { return nil }

// AuthMechanisms and Auth implement smtp.AuthSession.
func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != MailUser || password != MailPassword {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "wrong user or password"}
		}
		s.signed = true
		return nil
	}), nil
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error {
	if !s.signed {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "sign in first"}
	}
	if text, err := os.ReadFile(filepath.Join(s.box.dir, failFile)); err == nil {
		code, message, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		if n, err := strconv.Atoi(code); err == nil {
			return &smtp.SMTPError{Code: n, EnhancedCode: smtp.EnhancedCode{n / 100, 0, 0}, Message: message}
		}
	}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	b := s.box
	b.mu.Lock()
	defer b.mu.Unlock()
	have, err := filepath.Glob(filepath.Join(b.dir, "*.eml"))
	if err != nil {
		return err
	}
	text = append([]byte("X-Envelope-To: "+strings.Join(s.to, ", ")+"\r\n"), text...)
	temporary := filepath.Join(b.dir, "arriving")
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(b.dir, fmt.Sprintf("%04d.eml", len(have))))
}

// makeCertificate makes a certificate for the loopback address, signed by itself.
func makeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "panda test mail server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, certFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
}
