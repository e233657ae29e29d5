package engine

import (
	"strings"
)

// The fence of the reading door. The engine's readonly=1 forbids writes, changed
// settings and most table functions; measured on this release it does not forbid
// INTO OUTFILE, SYSTEM, KILL, the function file(), or the tables that the
// database `default` makes of any path. So a statement must be of a reading kind
// and free of those, by its tokens; what the lexer does not know is refused.

var readingKinds = words("SELECT WITH SHOW DESCRIBE DESC EXPLAIN EXISTS")

// forbiddenCalls are names that, in front of a parenthesis, reach something
// other than the tables: the table functions of this release except those that
// only make rows, and the scalar functions that open files.
var forbiddenCalls = words(`file filecluster filesystem url urlcluster s3 s3cluster gcs oss cosn
	hdfs hdfscluster remote remotesecure cluster clusterallreplicas mysql postgresql mongodb redis sqlite odbc jdbc ytsaurus
	executable input python arrowstream arrow_stream dictionary loop merge hudi hudicluster
	deltalake deltalakecluster deltalakelocal deltalakeazure deltalakeazurecluster deltalakes3 deltalakes3cluster
	iceberg iceberglocal icebergs3 icebergazure iceberghdfs icebergcluster icebergs3cluster icebergazurecluster
	iceberghdfscluster iceberglocalcluster paimon paimonlocal paimons3 paimonazure paimonhdfs paimoncluster paimons3cluster
	paimonazurecluster paimonhdfscluster azureblobstorage azureblobstoragecluster prometheusquery prometheusqueryrange
	timeseriesdata timeseriestags timeseriesmetrics timeseriesselector fuzzquery fuzzjson
	catboostevaluate joinget joingetornull hascolumnintable sleep sleepeachrow`)

// readingFormats are the output formats of the reading door. Those that read a
// schema or a template from a path are not among them.
var readingFormats = words(`native rowbinary rowbinarywithnames rowbinarywithnamesandtypes
	json jsonstrings jsoncompact jsoncompactstrings jsoncolumns jsoncompactcolumns jsoncolumnswithmetadata
	jsoneachrow jsonstringseachrow jsoncompacteachrow jsoncompactstringseachrow jsonobjecteachrow ndjson jsonlines
	jsoncompacteachrowwithnames jsoncompacteachrowwithnamesandtypes jsoncompactstringseachrowwithnames
	jsoncompactstringseachrowwithnamesandtypes jsoneachrowwithprogress jsonstringseachrowwithprogress
	tabseparated tsv tabseparatedraw tsvraw tabseparatedwithnames tsvwithnames tabseparatedwithnamesandtypes tsvwithnamesandtypes
	csv csvwithnames csvwithnamesandtypes values vertical pretty prettycompact prettyspace prettycompactmonoblock
	parquet arrow arrowstream orc xml markdown md null rawblob lineasstring`)

// forbiddenSettings begin the names of settings that name a path, a function or
// a place; a client of the reading door may set the others.
var forbiddenSettings = []string{
	"format_schema", "format_template", "format_custom", "format_avro", "readonly", "allow_", "log_", "http_", "s3_", "azure_", "hdfs_",
	"default_table_engine", "default_temporary_table_engine", "max_memory_usage", "user_", "filesystem_", "storage_",
	"input_format_", "dialect", "implicit_", "workload", "cluster_for", "object_storage", "memory_", "metrics_",
	"additional_", "external_storage", "sql_", "backup_", "restore_", "distributed_", "parallel_replicas", "interserver", "query_cache",
}

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[strings.ToLower(w)] = true
	}
	return m
}

func refused(format string, args ...any) error {
	return exceptionf(codeReadonly, "READONLY", "this address is for reading only: "+format, args...)
}

// fence returns why a statement is not let through the reading door, or nil.
func fence(tokens []token, format string) error {
	k := kind(tokens)
	if !readingKinds[strings.ToLower(k)] {
		return refused("%s is not a reading statement", firstWord(k))
	}
	if !readingFormats[strings.ToLower(format)] {
		return refused("the format %s is not offered", format)
	}
	for i, t := range tokens {
		next := token{kind: tokenPunct}
		if i+1 < len(tokens) {
			next = tokens[i+1]
		}
		name := strings.ToLower(t.text)
		switch {
		case t.kind == tokenBad:
			return refused("byte %d cannot be read as SQL: quote text that is not ASCII", t.start)
		case t.text == ";" && t.kind == tokenPunct && i+1 < len(tokens):
			return refused("one statement at a time")
		case t.is("OUTFILE"), t.is("INFILE"):
			return refused("%s is not allowed", strings.ToUpper(t.text))
		case t.kind != tokenWord && t.kind != tokenQuoted:
			continue
		case next.text == "(" && next.kind == tokenPunct && forbiddenCalls[name]:
			return refused("the function %s is not allowed", name)
		case name == "default" && next.text == "." && next.kind == tokenPunct:
			// The engine's database `default` turns any path into a table.
			return refused("the database `default` is not offered")
		case t.is("INTO"), t.is("IDENTIFIER") && i > 0 && tokens[i-1].text == ":":
			return refused("%s is not allowed", strings.ToUpper(t.text))
		case (t.is("FROM") || t.is("JOIN") || t.is("TABLE")) && next.kind == tokenString:
			return refused("a text cannot be read as a table")
		}
	}
	return nil
}

func firstWord(k string) string {
	if k == "" {
		return "the text"
	}
	return k
}

func fenceSettings(settings []setting) error {
	for _, s := range settings {
		for _, prefix := range forbiddenSettings {
			if strings.HasPrefix(s.name, prefix) {
				return refused("the setting %s is not allowed", s.name)
			}
		}
	}
	return nil
}
