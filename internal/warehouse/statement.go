package warehouse

import "io/fs"

// Statement returns the text of sql/<name>.sql among the embedded files of a package.
// Its absence is a broken build, and panics.
func Statement(files fs.FS, pkg, name string) string {
	text, err := fs.ReadFile(files, "sql/"+name+".sql")
	if err != nil {
		panic(pkg + ": there is no statement " + name)
	}
	return string(text)
}
