//! Rules for the arguments, settings and substrings that are secrets.

use super::alike::HIDDEN;

/// Words that make the value a secret if the name contains one between its underscores.
const SECRET_WORDS: [&str; 17] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "credential",
    "credentials",
    "apikey",
    "sas",
    "pem",
    "signature",
    "aws",
    "jwt",
    "auth",
    "nkey",
];

/// Substrings of a name that make the value a secret.
const SECRET_PIECES: [&str; 14] = [
    "password",
    "secret",
    "access_key",
    "account_key",
    "private_key",
    "api_key",
    "encryption_key",
    "connection_string",
    "credential",
    "auth_header",
    "client_key",
    "key_hex",
    "external_id",
    "role_session_name",
];

/// Complete names that make the value a secret.
const SECRET_NAMES: [&str; 3] = ["nats_server_list", "authorization", "sharedaccesssignature"];

/// Whether the value of a setting, a named argument or a key of a dictionary's source is a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_PIECES.iter().any(|piece| name.contains(piece))
        || name.split(['_', '.']).any(|word| SECRET_WORDS.contains(&word))
}

/// Calls that are maps of secrets, and the keys whose values are not secret.
pub(super) fn nested_values(call: &str) -> Option<&'static [&'static str]> {
    match call {
        "headers" => Some(&[]),
        "extra_credentials" => Some(&["role_arn"]),
        "disk" => Some(&[
            "type",
            "name",
            "disk",
            "path",
            "endpoint",
            "region",
            "object_storage_type",
            "metadata_type",
            "max_size",
            "cache_policy",
            "cache_on_write_operations",
            "support_batch_delete",
            "readonly",
            "skip_access_check",
        ]),
        _ => None,
    }
}

/// An unnamed argument of a function or engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// A literal, with its value.
    Text(String),
    /// A single name, with its text: in most places ClickHouse takes it for a literal.
    Name(String),
    /// A name with a database.
    Qualified,
    /// A call of the function of this name, in lower case.
    Call(String),
    /// Any other expression.
    Other,
}

/// The positions of the unnamed arguments that are secrets, for a function or engine whose name is given in lower case.
pub(super) fn positions(call: &str, arguments: &[Argument], is_engine: bool, is_database: bool) -> Vec<usize> {
    let count = arguments.len();
    let text = |number: usize| match arguments.get(number) {
        Some(Argument::Text(text) | Argument::Name(text)) => Some(text.as_str()),
        _ => None,
    };
    let offset = usize::from(call.ends_with("cluster"));
    match call {
        "mysql" | "materializedmysql" | "materializemysql" | "postgresql" | "materializedpostgresql" => {
            vec![if is_database { 3 } else { 4 }]
        }
        "mongodb" => vec![4],
        "externaldistributed" => vec![5],
        "redis" => vec![if is_engine { 2 } else { 4 }],
        "arrowflight" => vec![3],
        "ytsaurus" | "hmac" | "datalakecatalog" => vec![2],
        "bigquery" => (2..count).collect(),
        "jdbc" | "odbc" => vec![0],
        "remote" | "remotesecure" => {
            let names_table = match arguments.get(1) {
                Some(Argument::Text(text) | Argument::Name(text)) if text.contains('.') => {
                    // ClickHouse splits it at the dot, also a quoted name. For one who means a database whose name has a
                    // dot, the password is the argument after that, where a sharding key is no literal.
                    let is_literal = matches!(arguments.get(4), Some(Argument::Text(_)));
                    return if is_literal { vec![3, 4] } else { vec![3] };
                }
                Some(Argument::Text(_) | Argument::Name(_)) => false,
                Some(Argument::Call(name)) if !TABLE_FUNCTIONS.contains(&name.as_str()) => return (2..count).collect(),
                // Whether it is a database or a table is known to the server alone, and with it the place of the password.
                Some(Argument::Other) => return (2..count).collect(),
                Some(Argument::Qualified | Argument::Call(_)) | None => true,
            };
            vec![if names_table { 3 } else { 4 }]
        }
        "encrypt" | "decrypt" | "tryencrypt" | "trydecrypt" | "aes_encrypt_mysql" | "aes_decrypt_mysql" => {
            (1..count).collect()
        }
        _ if call.contains("azure") => {
            if text(offset + 3).is_some_and(is_format) {
                Vec::new()
            } else {
                vec![offset + 4]
            }
        }
        _ if is_object_storage(call) => {
            let first = text(offset + 1);
            let is_open = first.is_some_and(|text| text == "NOSIGN" || is_format(text));
            let token = text(offset + 3).is_none_or(|text| !is_format(text)).then_some(offset + 3);
            if is_open { Vec::new() } else { [offset + 2].into_iter().chain(token).collect() }
        }
        _ => Vec::new(),
    }
}

/// Table functions, which are the second argument of `remote` in place of a table.
const TABLE_FUNCTIONS: [&str; 22] = [
    "azureblobstorage",
    "cluster",
    "clusterallreplicas",
    "dictionary",
    "file",
    "generate_series",
    "generaterandom",
    "generateseries",
    "hdfs",
    "loop",
    "merge",
    "mysql",
    "null",
    "numbers",
    "numbers_mt",
    "postgresql",
    "remote",
    "remotesecure",
    "s3",
    "url",
    "view",
    "zeros",
];

/// Whether a function with secrets is evaluated for each row: then a name among its arguments is that of a column.
pub(super) fn takes_columns(call: &str) -> bool {
    call.contains("crypt") || call == "hmac"
}

/// Whether a function or engine reads from S3 or similar object storage.
fn is_object_storage(call: &str) -> bool {
    let starts = ["s3", "gcs", "oss", "cosn", "hudi", "deltalake", "iceberg", "paimon"];
    starts.iter().any(|start| call.starts_with(start)) && !call.contains("local") && !call.contains("hdfs")
}

/// The names of ClickHouse's formats, as it writes them.
const FORMATS: [&str; 95] = [
    "Arrow",
    "ArrowStream",
    "Avro",
    "AvroConfluent",
    "BSONEachRow",
    "Buffers",
    "CSV",
    "CSVWithNames",
    "CSVWithNamesAndTypes",
    "CapnProto",
    "CustomSeparated",
    "CustomSeparatedIgnoreSpaces",
    "CustomSeparatedIgnoreSpacesWithNames",
    "CustomSeparatedIgnoreSpacesWithNamesAndTypes",
    "CustomSeparatedWithNames",
    "CustomSeparatedWithNamesAndTypes",
    "DWARF",
    "Form",
    "Hash",
    "HiveText",
    "JSON",
    "JSONAsObject",
    "JSONAsString",
    "JSONColumns",
    "JSONColumnsWithMetadata",
    "JSONCompact",
    "JSONCompactColumns",
    "JSONCompactEachRow",
    "JSONCompactEachRowWithNames",
    "JSONCompactEachRowWithNamesAndTypes",
    "JSONCompactEachRowWithProgress",
    "JSONCompactStrings",
    "JSONCompactStringsEachRow",
    "JSONCompactStringsEachRowWithNames",
    "JSONCompactStringsEachRowWithNamesAndTypes",
    "JSONCompactStringsEachRowWithProgress",
    "JSONEachRow",
    "JSONEachRowWithProgress",
    "JSONLines",
    "JSONObjectEachRow",
    "JSONStrings",
    "JSONStringsEachRow",
    "JSONStringsEachRowWithProgress",
    "LineAsString",
    "LineAsStringWithNames",
    "LineAsStringWithNamesAndTypes",
    "Markdown",
    "MsgPack",
    "MySQLDump",
    "NDJSON",
    "Native",
    "Npy",
    "Null",
    "ODBCDriver2",
    "ORC",
    "One",
    "Parquet",
    "ParquetMetadata",
    "PostgreSQLWire",
    "Pretty",
    "PrettyCompact",
    "PrettyCompactMonoBlock",
    "PrettyJSONEachRow",
    "PrettyJSONLines",
    "PrettyNDJSON",
    "PrettySpace",
    "Prometheus",
    "Protobuf",
    "ProtobufList",
    "ProtobufSingle",
    "RawBLOB",
    "Regexp",
    "RowBinary",
    "RowBinaryWithDefaults",
    "RowBinaryWithNames",
    "RowBinaryWithNamesAndTypes",
    "SQLInsert",
    "TSKV",
    "TSV",
    "TSVRaw",
    "TSVRawWithNames",
    "TSVRawWithNamesAndTypes",
    "TSVWithNames",
    "TSVWithNamesAndTypes",
    "TabSeparated",
    "TabSeparatedRaw",
    "TabSeparatedRawWithNames",
    "TabSeparatedRawWithNamesAndTypes",
    "TabSeparatedWithNames",
    "TabSeparatedWithNamesAndTypes",
    "Template",
    "TemplateIgnoreSpaces",
    "Values",
    "Vertical",
    "XML",
];

/// Whether an argument is certainly a format, or `auto`, and not a key that only looks like one: a key would otherwise
/// show the secret that follows it.
fn is_format(text: &str) -> bool {
    text == "auto" || FORMATS.contains(&text)
}

/// Keys in connection strings and in URL queries whose values are secrets.
const TEXT_KEYS: [&str; 22] = [
    "accountkey",
    "sharedaccesskey",
    "sharedaccesssignature",
    "sig",
    "signature",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "awsaccesskeyid",
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "sas_token",
    "api_key",
    "apikey",
    "key",
];

/// Hides and returns the passwords of URLs and the secrets of connection strings in a text.
pub(super) fn hide_within(text: &str) -> (String, Vec<String>) {
    let (text, mut secrets) = hide_in_urls(text);
    let mut shown = String::new();
    for piece in text.split_inclusive([';', '&', '?', ' ', '\n']) {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        let secret = value.trim_end_matches([';', '&', '?', ' ', '\n']);
        let is_secret = TEXT_KEYS.contains(&key.trim().to_lowercase().as_str());
        if !is_secret || secret.is_empty() || secret == HIDDEN {
            shown.push_str(piece);
            continue;
        }
        let behind = value.get(secret.len()..).unwrap_or_default();
        shown.extend([key, "=", HIDDEN, behind]);
        secrets.push(secret.to_owned());
    }
    (shown, secrets)
}

/// Hides the password in `scheme://user:password@host`.
fn hide_in_urls(text: &str) -> (String, Vec<String>) {
    let mut secrets = Vec::new();
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = behind.find(['/', '?', '#', ' ', '\'', '"', '\n']).unwrap_or(behind.len());
        let (authority, path) = behind.split_at(end);
        let password = authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?, host)));
        match password {
            Some(((user, password), host)) if !password.is_empty() && password != HIDDEN => {
                shown.extend([user, ":", HIDDEN, "@", host]);
                secrets.push(password.to_owned());
            }
            _ => shown.push_str(authority),
        }
        rest = path;
    }
    shown.push_str(rest);
    (shown, secrets)
}
