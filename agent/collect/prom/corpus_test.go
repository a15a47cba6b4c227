package prom

import (
	"compress/gzip"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module returns the folder that the sources of a module are in.
func module(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Fatalf("where %s is: %q, %v", path, dir, err)
	}
	return dir
}

// corpus returns Prometheus' own test data of the two text formats, as far as
// its modules carry it: the files of expfmt and textparse, the seeds of expfmt's
// fuzzing, and every page that the tests of either parser hold as a string. What
// no module carries is OpenMetrics' own suite (its repository has no Go module);
// OpenMetrics 2.0 (.om2.txt), which we do not ask for, is left out.
func corpus(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	common, server := module(t, "github.com/prometheus/common"), module(t, "github.com/prometheus/prometheus")
	for _, pattern := range []string{
		common + "/expfmt/testdata/text", common + "/expfmt/testdata/text.gz", common + "/expfmt/fuzz/corpus/*",
		server + "/model/textparse/testdata/*.om.txt", server + "/model/textparse/testdata/*.om1.txt", server + "/model/textparse/testdata/*.prom.txt",
		common + "/expfmt/*_test.go", server + "/model/textparse/*_test.go",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			text, err := read(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(f, ".go") {
				literals(t, pages, f, text)
				continue
			}
			pages[filepath.Base(f)] = text
		}
	}
	return pages
}

func read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if !strings.HasSuffix(path, ".gz") {
		p, err := io.ReadAll(f)
		return string(p), err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	p, err := io.ReadAll(z)
	return string(p), errors.Join(err, z.Close())
}

// literals adds the strings of a test's source that may be pages.
func literals(t *testing.T, pages map[string]string, path, source string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil && strings.ContainsAny(text, " \n{") {
				pages[filepath.Base(path)+":"+strconv.Itoa(int(l.Pos()))] = text
			}
		}
		return true
	})
}

// Prometheus' own corpus: whatever its parsers read of it, we read the same.
func TestTextReadsPrometheusOwnCorpus(t *testing.T) {
	pages := corpus(t)
	lines := 0
	for name, text := range pages {
		for _, om := range []bool{false, true} {
			t.Run(name, func(t *testing.T) { agree(t, []byte(text), om) })
			if want, err := theirs([]byte(text), om); err == nil {
				lines += len(want)
			}
		}
	}
	if len(pages) < 300 || lines < 5000 {
		t.Errorf("only %d pages, %d lines", len(pages), lines)
	}
	t.Logf("%d pages, %d lines that Prometheus reads", len(pages), lines)
}
