package integration

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/causeway-agent/causeway/"

// house is the project's Go code, parsed.
type house struct {
	fset  *token.FileSet
	files []source
}

// source is one file of it.
type source struct {
	path string // from the root, with slashes
	dir  string
	test bool
	text string
	ast  *ast.File
}

func readHouse(t *testing.T, root fs.FS) *house {
	t.Helper()
	h := &house{fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || p == "bin" || p == "data") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(h.fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		h.files = append(h.files, source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), text: string(text), ast: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// packages returns the files of each folder that are not tests.
func (h *house) packages() map[string][]source {
	m := map[string][]source{}
	for _, f := range h.files {
		if !f.test {
			m[f.dir] = append(m[f.dir], f)
		}
	}
	return m
}

// imports returns which packages of ours a file imports, from the root.
func (f source) imports() []string {
	var ours []string
	for _, i := range f.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if rest, ok := strings.CutPrefix(p, module); err == nil && ok {
			ours = append(ours, rest)
		}
	}
	return ours
}

// rule returns what in the house is against it, each with its place.
type rule func(h *house) []string

// rules of the house: architecture.md, section 8.
func rules() map[string]rule {
	return map[string]rule{
		"package doc":        everyPackageHasADoc,
		"import arrows":      importsFollowTheArrows,
		"package names":      packagesHaveNamesOfTheirOwn,
		"no init":            nothingRunsByItself,
		"no mutable var":     nothingMutableIsGlobal,
		"Encode has no now":  encodeIsPure,
		"no Background":      contextsComeFromTheCaller,
		"no datadogV2":       theLargestClientIsNotLinked,
		"fuzz targets found": everyFuzzTargetIsSeenByMake,
		"no machine's paths": nothingNamesAMachine,
	}
}

func TestHouseKeepsItsRules(t *testing.T) {
	h := readHouse(t, os.DirFS(".."))
	for name, r := range rules() {
		t.Run(name, func(t *testing.T) {
			for _, breach := range r(h) {
				t.Error(breach)
			}
		})
	}
}

// A rule that finds nothing proves nothing unless it finds what is planted.
func TestHouseRulesFindABreach(t *testing.T) {
	const doc = "// Package x is for the test.\n"
	f := func(rule, file, text string, want bool) {
		t.Helper()
		h := readHouse(t, fstest.MapFS{file: {Data: []byte(text)}})
		if got := rules()[rule](h); (len(got) > 0) != want {
			t.Errorf("%s in %s: %q found %v", rule, file, text, got)
		}
	}
	f("package doc", "agent/x/x.go", "package x", true)
	f("package doc", "agent/x/x.go", doc+"package x", false)
	imports := func(p string) string { return doc + "package x\nimport _ \"" + module + p + "\"" }
	f("import arrows", "agent/signal/x.go", imports("agent/spool"), true)
	f("import arrows", "agent/collect/host/x.go", imports("agent/collect/tail"), true)
	f("import arrows", "agent/collect/host/x.go", imports("agent/signal"), false)
	f("import arrows", "agent/collect/container/cadvisor/x.go", imports("agent/collect/container"), false)
	f("import arrows", "exporters/influx/x.go", imports("exporters/datadog"), true)
	f("import arrows", "exporters/influx/x.go", imports("agent/spool"), true)
	f("import arrows", "exporters/influx/x_test.go", imports("exporters/exporttest"), false)
	f("import arrows", "exporters/influx/x.go", imports("exporters/exporttest"), true)
	f("import arrows", "exporters/exporttest/ddintake/x.go", imports("exporters"), true)
	f("import arrows", "exporters/datadog/x_test.go", imports("exporters/exporttest/ddintake"), false)
	f("import arrows", "agent/x_test.go", imports("exporters/exporttest/ddintake"), false)
	f("import arrows", "agent/x.go", imports("exporters/exporttest/ddintake"), true)
	f("import arrows", "integration/x_test.go", imports("exporters/exporttest/ddintake"), false)
	f("import arrows", "integration/x_test.go", imports("exporters/datadog"), true)
	f("import arrows", "agent/logline/x.go", imports("agent/collect"), true)
	f("import arrows", "agent/collect/tail/x.go", imports("agent/logline"), false)
	f("import arrows", "exporters/x.go", imports("agent/logline"), true)
	f("import arrows", "agent/hub/x.go", imports("agent"), true)
	f("import arrows", "config/x.go", imports("agent"), true)
	f("import arrows", "config/x.go", imports("exporters/influx"), false)
	f("import arrows", "exporters/x.go", imports("integration"), true)
	f("package names", "agent/util/x.go", doc+"package util", true)
	f("package names", "agent/x/x.go", doc+"package y", true)
	f("package names", "agent/x/x.go", doc+"package x", false)
	f("no init", "agent/x/x.go", doc+"package x\nfunc init() {}", true)
	f("no init", "agent/x/x.go", doc+"package x\ntype t int\nfunc (t) init() {}", false)
	f("no mutable var", "agent/x/x.go", doc+"package x\nvar n int\nfunc f() { n++ }", true)
	f("no mutable var", "agent/x/x.go", doc+"package x\nvar m = map[int]int{}\nfunc f() { m[1] = 2 }", true)
	f("no mutable var", "agent/x/x.go", doc+"package x\nvar m = map[int]int{}\nfunc f() { delete(m, 1) }", true)
	f("no mutable var", "agent/x/x.go", doc+"package x\nvar n int\nfunc f() *int { return &n }", true)
	f("no mutable var", "agent/x/x.go", doc+"package x\nimport \"sync\"\nvar mu sync.Mutex", true)
	f("no mutable var", "agent/x/x.go", doc+"package x\nvar m = map[int]int{1: 2}\nfunc f() int { m := 1; m++; return m }", false)
	f("no mutable var", "agent/x/x.go", doc+"package x\nimport \"sync\"\nvar p = sync.Pool{}", false)
	f("Encode has no now", "exporters/x/x.go", doc+"package x\nimport \"time\"\ntype e int\nfunc (e) Encode() { f() }\nfunc f() { time.Now() }", true)
	f("Encode has no now", "exporters/x/x.go", doc+"package x\nimport \"time\"\ntype e int\nfunc (e) Encode() {}\nfunc f() { time.Now() }", false)
	f("no Background", "agent/x/x.go", doc+"package x\nimport \"context\"\nvar c = context.Background()", true)
	f("no Background", "agent/cmd/x/x.go", doc+"package x\nimport \"context\"\nvar c = context.Background()", false)
	f("no datadogV2", "exporters/datadog/x.go", doc+"package x\nimport _ \"github.com/DataDog/datadog-api-client-go/v2/api/"+"datadogV2\"", true)
	f("fuzz targets found", "agent/x/x_test.go", "package x\nimport \"testing\"\nfunc  FuzzX(f *testing.F) {}", true)
	f("fuzz targets found", "agent/x/x_test.go", "package x\nimport \"testing\"\nfunc FuzzX(f *testing.F) { f.Add(1); f.Fuzz(nil) }", false)
	f("no machine's paths", "agent/x/x.go", doc+"package x\nconst p = \"/wo"+"rk/main\"", true)
}

func everyPackageHasADoc(h *house) (breaches []string) {
	for dir, files := range h.packages() {
		if !slices.ContainsFunc(files, func(f source) bool { return f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != "" }) {
			breaches = append(breaches, dir+": no file has a package comment")
		}
	}
	return breaches
}

// allowed reports whether a file of package dir may import package p.
func allowed(dir, p string, test bool) bool {
	const signal, secret = "agent/signal", "config/secret"
	parent := path.Dir(dir)
	room := parent == "agent/collect" || parent == "exporters"
	switch {
	case p == dir: // an external test
		return test
	case p == "integration" && !strings.HasPrefix(dir, "integration/") || strings.HasPrefix(p, "agent/cmd"):
		return false
	case dir == "integration" || strings.HasPrefix(dir, "integration/"):
		return p == signal || p == "agent/spool" || strings.HasPrefix(p, "exporters/exporttest/") || p == "integration"
	case test && (p == "exporters/exporttest" || strings.HasPrefix(p, "exporters/exporttest/")):
		return strings.HasPrefix(dir, "exporters") || dir == "agent" // whose tests follow a value from a collector to a vendor
	case p == "exporters/exporttest" || strings.HasPrefix(p, "exporters/exporttest/"):
		return false
	case dir == "agent" || strings.HasPrefix(dir, "agent/cmd/"):
		return true
	case dir == signal || dir == "agent/spool" || dir == secret || strings.HasPrefix(dir, "exporters/exporttest/"):
		return false
	case strings.HasPrefix(dir, "deploy/"): // what the commands print; the names are the vendors' folders' to give
		return p == signal || p == "config" || strings.HasPrefix(p, "exporters") || strings.HasPrefix(p, "agent/collect/") || test && strings.HasPrefix(p, "agent/")
	case dir == "agent/collect" || dir == "agent/logline":
		return p == signal
	case p == "agent/logline": // what a line says is asked by those who read it, and by the hub
		return dir == "agent/hub" || strings.HasPrefix(dir, "agent/collect/")
	case dir == "agent/hub", dir == "exporters", dir == "exporters/exporttest":
		return p == signal || p == "agent/spool" || dir == "exporters/exporttest" && p == "exporters" || test && (p == "agent/collect" || p == secret)
	case dir == "config":
		return p != "agent"
	case room:
		return p == signal || p == secret || p == parent || test && p == "agent/spool"
	case strings.HasPrefix(dir, "agent/collect/"): // a provider within a room
		return p == signal || p == secret || p == "agent/collect" || p == parent
	default: // agent/store, agent/console
		return p == secret
	}
}

func importsFollowTheArrows(h *house) (breaches []string) {
	for _, f := range h.files {
		for _, p := range f.imports() {
			if !allowed(f.dir, p, f.test) {
				breaches = append(breaches, fmt.Sprintf("%s imports %s", f.path, p))
			}
		}
	}
	return breaches
}

func packagesHaveNamesOfTheirOwn(h *house) (breaches []string) {
	bad := []string{"util", "utils", "common", "helpers", "helper", "types", "base", "core", "internal", "pkg", "misc", "shared", "lib"}
	for _, f := range h.files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		for _, part := range append(strings.Split(f.dir, "/"), name) {
			if slices.Contains(bad, part) {
				breaches = append(breaches, fmt.Sprintf("%s: a package called %q could hold anything", f.path, part))
			}
		}
		if name != path.Base(f.dir) && name != "main" {
			breaches = append(breaches, fmt.Sprintf("%s: package %s is not called like its folder", f.path, name))
		}
	}
	return breaches
}

func nothingRunsByItself(h *house) (breaches []string) {
	for _, f := range h.files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				breaches = append(breaches, fmt.Sprintf("%s: init runs without being called", h.fset.Position(fn.Pos())))
			}
		}
	}
	return breaches
}

// nothingMutableIsGlobal finds variables of a package that something in it
// writes to, takes the address of, or that are made to change.
func nothingMutableIsGlobal(h *house) (breaches []string) {
	for _, files := range h.packages() {
		vars := map[string]token.Pos{}
		for _, f := range files {
			for _, d := range f.ast.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					for _, name := range v.Names {
						if name.Name != "_" && !isPool(v) {
							vars[name.Name] = name.Pos()
						}
					}
					if t := changing(v); t != "" {
						breaches = append(breaches, fmt.Sprintf("%s: a %s for the whole package", h.fset.Position(v.Pos()), t))
					}
				}
			}
		}
		for _, f := range files {
			for _, w := range writes(f.ast, vars) {
				breaches = append(breaches, fmt.Sprintf("%s: %s is changed, and belongs to the whole package", h.fset.Position(w.Pos()), w.Name))
			}
		}
	}
	return breaches
}

// isPool reports whether v holds pools of buffers, which change and hold nothing
// that anybody would miss.
func isPool(v *ast.ValueSpec) bool {
	for _, e := range append([]ast.Expr{v.Type}, v.Values...) {
		if lit, ok := e.(*ast.CompositeLit); ok {
			e = lit.Type
		}
		if sel, ok := e.(*ast.SelectorExpr); ok && sel.Sel.Name == "Pool" {
			return true
		}
	}
	return false
}

// changing names the type of a variable that is of no use unless it changes.
func changing(v *ast.ValueSpec) (name string) {
	look := func(e ast.Expr) {
		if star, ok := e.(*ast.StarExpr); ok {
			e = star.X
		}
		if lit, ok := e.(*ast.CompositeLit); ok {
			e = lit.Type
		}
		if ix, ok := e.(*ast.IndexExpr); ok {
			e = ix.X
		}
		if sel, ok := e.(*ast.SelectorExpr); ok {
			if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "sync" && sel.Sel.Name != "Pool" || pkg.Name == "atomic") {
				name = pkg.Name + "." + sel.Sel.Name
			}
		}
		if _, ok := e.(*ast.ChanType); ok {
			name = "channel"
		}
	}
	if v.Type != nil {
		look(v.Type)
	}
	for _, e := range v.Values {
		look(e)
	}
	return name
}

// writes returns the identifiers of vars that f writes to. A name that a
// function declares anew hides the package's for all of that function.
func writes(f *ast.File, vars map[string]token.Pos) (found []*ast.Ident) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		own := map[string]bool{}
		declare := func(list *ast.FieldList) {
			if list == nil {
				return
			}
			for _, p := range list.List {
				for _, n := range p.Names {
					own[n.Name] = true
				}
			}
		}
		declare(fn.Recv)
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncType:
				declare(n.Params)
				declare(n.Results)
			case *ast.AssignStmt:
				if n.Tok == token.DEFINE {
					for _, l := range n.Lhs {
						if id, ok := l.(*ast.Ident); ok {
							own[id.Name] = true
						}
					}
				}
			case *ast.RangeStmt:
				for _, l := range []ast.Expr{n.Key, n.Value} {
					if id, ok := l.(*ast.Ident); ok && n.Tok == token.DEFINE {
						own[id.Name] = true
					}
				}
			case *ast.ValueSpec:
				for _, id := range n.Names {
					own[id.Name] = true
				}
			}
			return true
		})
		note := func(e ast.Expr) {
			if id := rootOf(e); id != nil && !own[id.Name] {
				if _, ours := vars[id.Name]; ours {
					found = append(found, id)
				}
			}
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, l := range n.Lhs {
						note(l)
					}
				}
			case *ast.IncDecStmt:
				note(n.X)
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					note(n.Key)
					note(n.Value)
				}
			case *ast.UnaryExpr:
				if _, plain := n.X.(*ast.Ident); n.Op == token.AND && plain {
					note(n.X)
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") && len(n.Args) > 0 {
					note(n.Args[0])
				}
			}
			return true
		})
	}
	return found
}

// rootOf returns the variable that an assignment to e changes.
func rootOf(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// encodeIsPure follows the calls that an Encode makes by name within its package.
func encodeIsPure(h *house) (breaches []string) {
	for dir, files := range h.packages() {
		if path.Dir(dir) != "exporters" {
			continue
		}
		bodies := map[string][]*ast.FuncDecl{}
		for _, f := range files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
					bodies[fn.Name.Name] = append(bodies[fn.Name.Name], fn)
				}
			}
		}
		seen := map[string]bool{}
		var follow func(name string)
		follow = func(name string) {
			if seen[name] {
				return
			}
			seen[name] = true
			for _, fn := range bodies[name] {
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					switch f := call.Fun.(type) {
					case *ast.Ident:
						follow(f.Name)
					case *ast.SelectorExpr:
						if pkg, ok := f.X.(*ast.Ident); ok && pkg.Name == "time" && (f.Sel.Name == "Now" || f.Sel.Name == "Since" || f.Sel.Name == "Until") {
							breaches = append(breaches, fmt.Sprintf("%s: Encode asks the clock", h.fset.Position(call.Pos())))
						}
						follow(f.Sel.Name)
					}
					return true
				})
			}
		}
		follow("Encode")
	}
	return breaches
}

func contextsComeFromTheCaller(h *house) (breaches []string) {
	for _, f := range h.files {
		if f.test || strings.HasPrefix(f.dir, "agent/cmd/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "context" && (sel.Sel.Name == "Background" || sel.Sel.Name == "TODO") {
					breaches = append(breaches, fmt.Sprintf("%s: context.%s", h.fset.Position(sel.Pos()), sel.Sel.Name))
				}
			}
			return true
		})
	}
	return breaches
}

// theLargestClientIsNotLinked: datadogV2 takes more than a gigabyte to compile.
func theLargestClientIsNotLinked(h *house) (breaches []string) {
	for _, f := range h.files {
		for _, i := range f.ast.Imports {
			if strings.HasSuffix(i.Path.Value, "api/"+`datadogV2"`) {
				breaches = append(breaches, f.path+" imports "+i.Path.Value)
			}
		}
	}
	return breaches
}

// everyFuzzTargetIsSeenByMake: `make fuzz` finds targets by the beginning of a
// line in a test file.
func everyFuzzTargetIsSeenByMake(h *house) (breaches []string) {
	for _, f := range h.files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") || len(fn.Type.Params.List) != 1 {
				continue
			}
			if !f.test || !strings.Contains("\n"+f.text, "\nfunc "+fn.Name.Name+"(") {
				breaches = append(breaches, fmt.Sprintf("%s: make fuzz does not see %s", f.path, fn.Name.Name))
			}
			if !strings.Contains(f.text, "f.Add(") {
				breaches = append(breaches, fmt.Sprintf("%s: %s has no seeds", f.path, fn.Name.Name))
			}
		}
	}
	return breaches
}

func nothingNamesAMachine(h *house) (breaches []string) {
	words := []string{"/wo" + "rk/", "/ro" + "ot/", "/Us" + "ers/", "/tmp/" + "brief"}
	for _, f := range h.files {
		for _, w := range words {
			for i, line := range strings.Split(f.text, "\n") {
				if strings.Contains(line, w) {
					breaches = append(breaches, fmt.Sprintf("%s:%d: names %s", f.path, i+1, w))
				}
			}
		}
	}
	return breaches
}

// The top level is what a visitor sees first.
func TestHouseHasNothingElseAtItsTop(t *testing.T) {
	want := []string{
		"ARCHITECTURE.md", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "agent", "agent.yaml",
		"bin", "config", "data", "deploy", "exporters", "go.mod", "go.sum", "integration",
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(want, e.Name()) {
			t.Errorf("%s is at the top level, and belongs into one of %v", e.Name(), want)
		}
	}
	for _, name := range []string{"agent", "exporters", "config", "integration", "go.mod", "LICENSE", "Makefile"} {
		if _, err := os.Stat(path.Join("..", name)); err != nil {
			t.Errorf("%s is missing: %v", name, err)
		}
	}
}

// README.md of this folder names every test, so that a reader finds what is proved.
func TestHouseReadmeNamesEveryTest(t *testing.T) {
	for _, f := range readHouse(t, os.DirFS(".")).files {
		readme := path.Join(f.dir, "README.md") // each folder has its own
		text, err := os.ReadFile(readme)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "Test") || fn.Name.Name == "TestMain" || strings.HasPrefix(fn.Name.Name, "TestHouse") {
				continue
			}
			if !strings.Contains(string(text), fn.Name.Name) {
				t.Errorf("%s does not name %s", readme, fn.Name.Name)
			}
		}
	}
}
