package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pki is the cluster's certificates, and who may sign them.
type pki struct {
	dir    string
	server string
	key    *ecdsa.PrivateKey
	ca     *x509.Certificate
	caPEM  []byte
	serial int64
}

// newPKI writes into dir a certificate authority, what the servers show, what
// the API server shows to the kubelet, and the key of service accounts' tokens.
func newPKI(dir, server string) (*pki, error) {
	p := &pki{dir: dir, server: server}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p.key = key
	p.ca = p.template("kube-ca", "")
	p.ca.IsCA, p.ca.BasicConstraintsValid, p.ca.KeyUsage = true, true, x509.KeyUsageCertSign
	if p.caPEM, err = p.sign(p.ca, &key.PublicKey); err != nil {
		return nil, err
	}
	if err := p.write("ca", p.caPEM, key); err != nil {
		return nil, err
	}
	hosts := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost",
		"127.0.0.1", nodeIP, serviceIP}
	if _, _, err := p.leaf("apiserver", "kube-apiserver", "", hosts); err != nil {
		return nil, err
	}
	if _, _, err := p.leaf("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters", nil); err != nil {
		return nil, err
	}
	if _, _, err := p.leaf("kubelet", "system:node:"+nodeName, "system:nodes", []string{nodeName, nodeIP, "127.0.0.1", "localhost"}); err != nil {
		return nil, err
	}
	return p, p.serviceAccounts()
}

// serviceAccounts writes the key that signs tokens, and its public half.
func (p *pki) serviceAccounts() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(filepath.Join(p.dir, "sa.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "sa.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
}

func (p *pki) template(name, group string) *x509.Certificate {
	p.serial++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(p.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
	}
	if group != "" {
		c.Subject.Organization = []string{group}
	}
	return c
}

func (p *pki) sign(c *x509.Certificate, public any) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, p.ca, public, p.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", c.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// leaf makes a certificate and key for a user of a group, and for hosts. With a
// file name they are written to disk, too.
func (p *pki) leaf(file, user, group string, hosts []string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c := p.template(user, group)
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	if cert, err = p.sign(c, &private.PublicKey); err != nil {
		return nil, nil, err
	}
	if file != "" {
		err = p.write(file, cert, private)
	}
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return cert, key, err
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func (p *pki) write(file string, cert []byte, private *ecdsa.PrivateKey) error {
	key, err := keyPEM(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, file+".crt"), cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, file+".key"), key, 0o600)
}

// kubeconfig writes one for a user of a group.
func (p *pki) kubeconfig(file, user, group string) error {
	cert, key, err := p.leaf("", user, group, nil)
	if err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: kube
contexts: [{name: kube, context: {cluster: kube, user: me}}]
clusters: [{name: kube, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: me, user: {client-certificate-data: %s, client-key-data: %s}}]
`, p.server, b64(p.caPEM), b64(cert), b64(key)), 0o600)
}

// trust is what a client of the cluster's servers needs.
func (p *pki) trust() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.caPEM)
	return &tls.Config{RootCAs: roots}
}
