use super::{parse, sample};
use crate::plan::{Mapping, Verb};

/// The text that 26.9 itself prints for these samples, except that it hides less.
#[test]
fn secrets_are_hidden_as_the_server_hides_them() {
    for (name, hidden, secrets) in [
        (
            "az",
            "AccountName=a;AccountKey=[HIDDEN];EndpointSuffix=core.windows.net', 'cont', 'x.csv', 'CSV')",
            vec!["akey"],
        ),
        ("dic", "SOURCE(CLICKHOUSE(USER 'default' PASSWORD '[HIDDEN]' DB 'l' TABLE 'src' WHERE 'k > 1'))", vec!["dpw"]),
        (
            "dic3",
            "SOURCE(HTTP(URL 'http://u:[HIDDEN]@localhost:1/x' FORMAT 'CSV' CREDENTIALS (USER 'u' PASSWORD '[HIDDEN]') \
             HEADERS (HEADER (NAME 'API-KEY' VALUE '[HIDDEN]'))))",
            vec!["pw", "hpw", "hkey"],
        ),
        (
            "enc",
            "encrypt('aes-256-ofb', '[HIDDEN]', '[HIDDEN]'), `h` String MATERIALIZED HMAC('sha256', k, '[HIDDEN]')",
            vec!["text", "keykeykeykeykeykeykeykeykeykeyke", "hmackey"],
        ),
        ("kaf2", "kafka_format = 'CSV', kafka_sasl_password = '[HIDDEN]'", vec!["kpw"]),
        ("mon", "ENGINE = MongoDB('localhost:1', 'db', 'c', 'u', '[HIDDEN]')", vec!["mopw"]),
        ("my", "ENGINE = MySQL('localhost:1', 'db', 'tab', 'user', '[HIDDEN]')", vec!["mypw"]),
        ("pg", "ENGINE = PostgreSQL('localhost:1', 'db', 'tab', 'user', '[HIDDEN]')", vec!["pgpw"]),
        ("red", "ENGINE = Redis('localhost:1', 0, '[HIDDEN]') PRIMARY KEY k", vec!["repw"]),
        ("s3", "ENGINE = S3('http://localhost:1/bucket/x', 'KEYID', '[HIDDEN]', 'CSV')", vec!["SECRETKEY"]),
        ("url", "ENGINE = URL('http://u:[HIDDEN]@localhost:1/x', 'CSV')", vec!["pw"]),
        (
            "url2",
            "ENGINE = URL('http://localhost:1/x', 'CSV', headers('Authorization' = '[HIDDEN]'))",
            vec!["Bearer tok"],
        ),
    ] {
        let definition = sample(name);
        let masked = definition.masked();
        assert!(masked.contains(hidden), "{masked}");
        assert!(!masked.contains('\n'), "{masked}");
        assert_eq!(definition.secrets(), secrets, "{name}");
        for secret in secrets.iter().filter(|secret| secret.len() > 3) {
            assert!(!masked.replace("plaintext", "").contains(*secret), "{masked}");
        }
        assert!(!definition.has_hidden_secret());
        let shown = parse(&masked);
        assert!(shown.has_hidden_secret(), "{masked}");
        assert!(
            definition.is_like(&shown, &Mapping::default()) && shown.is_like(&definition, &Mapping::default()),
            "{masked}"
        );
    }
}

#[test]
fn functions_engines_and_settings_hide_their_secrets() {
    for (text, hidden) in [
        ("s3('u', 'id', 'SECRET')", "s3('u', 'id', '[HIDDEN]')"),
        ("s3('u', 'id', 'SECRET', 'SECRET', 'CSV')", "s3('u', 'id', '[HIDDEN]', '[HIDDEN]', 'CSV')"),
        ("s3Cluster('c', 'u', 'id', 'SECRET', 'CSV')", "s3Cluster('c', 'u', 'id', '[HIDDEN]', 'CSV')"),
        ("s3('u', NOSIGN, 'CSV')", "s3('u', NOSIGN, 'CSV')"),
        ("s3('u', 'CSV', 'k UInt8')", "s3('u', 'CSV', 'k UInt8')"),
        (
            "s3(nc, secret_access_key = 'SECRET', format = 'CSV')",
            "s3(nc, secret_access_key = '[HIDDEN]', format = 'CSV')",
        ),
        ("gcs('u', 'id', 'SECRET')", "gcs('u', 'id', '[HIDDEN]')"),
        (
            "s3('u', extra_credentials(role_arn = 'a', external_id = 'SECRET'))",
            "s3('u', extra_credentials(role_arn = 'a', external_id = '[HIDDEN]'))",
        ),
        (
            "azureBlobStorage('u', 'c', 'p', 'acc', 'SECRET', 'CSV')",
            "azureBlobStorage('u', 'c', 'p', 'acc', '[HIDDEN]', 'CSV')",
        ),
        (
            "azureBlobStorageCluster('c', 'u', 'c', 'p', 'acc', 'SECRET')",
            "azureBlobStorageCluster('c', 'u', 'c', 'p', 'acc', '[HIDDEN]')",
        ),
        ("url('https://h/x?sig=SECRET&a=1')", "url('https://h/x?sig=[HIDDEN]&a=1')"),
        ("mysql('h', 'd', 't', 'u', 'SECRET', 1)", "mysql('h', 'd', 't', 'u', '[HIDDEN]', 1)"),
        ("mongodb('mongodb://u:SECRET@h/d', 'c')", "mongodb('mongodb://u:[HIDDEN]@h/d', 'c')"),
        ("remote('h', 'd', 't', 'u', 'SECRET')", "remote('h', 'd', 't', 'u', '[HIDDEN]')"),
        ("remoteSecure('h', d.t, 'u', 'SECRET', rand())", "remoteSecure('h', d.t, 'u', '[HIDDEN]', rand())"),
        ("remote('h', 'd.t', 'u', 'SECRET')", "remote('h', 'd.t', 'u', '[HIDDEN]')"),
        ("remote('h', `d.t`, 'u', 'SECRET', rand())", "remote('h', `d.t`, 'u', '[HIDDEN]', rand())"),
        ("remote('h', `d.t`, 'u', 'SECRET', k)", "remote('h', `d.t`, 'u', '[HIDDEN]', k)"),
        ("remote('h', `a.b`.t, 'u', 'SECRET')", "remote('h', `a.b`.t, 'u', '[HIDDEN]')"),
        ("remote('h', `a.b`.`c.d`, 'u', 'SECRET')", "remote('h', `a.b`.`c.d`, 'u', '[HIDDEN]')"),
        ("remote('h', `a b`, t, 'u', 'SECRET')", "remote('h', `a b`, t, 'u', '[HIDDEN]')"),
        ("remote('h', `a.b`, 't', 'u', 'SECRET')", "remote('h', `a.b`, 't', '[HIDDEN]', '[HIDDEN]')"),
        ("remoteSecure('h', 'a.b', t, u, 'SECRET')", "remoteSecure('h', 'a.b', t, '[HIDDEN]', '[HIDDEN]')"),
        ("mysql('h', `a.b`, 't', 'u', 'SECRET')", "mysql('h', `a.b`, 't', 'u', '[HIDDEN]')"),
        ("remote('h', numbers(3), 'u', 'SECRET')", "remote('h', numbers(3), 'u', '[HIDDEN]')"),
        ("redis('h', 'k', 'k String', 0, 'SECRET')", "redis('h', 'k', 'k String', 0, '[HIDDEN]')"),
        ("jdbc('SECRET', 's', 't')", "jdbc('[HIDDEN]', 's', 't')"),
        ("decrypt('m', x, concat('SECRET', 'SECRET2'))", "decrypt('m', x, concat('[HIDDEN]', '[HIDDEN]'))"),
        ("f(password = 'SECRET', x = {'token':'SECRET'})", "f(password = '[HIDDEN]', x = {'token':'[HIDDEN]'})"),
        ("f(aws_access_key_id = 'SECRET')", "f(aws_access_key_id = '[HIDDEN]')"),
        (
            "1 SETTINGS nats_token = 'SECRET', s3queue_x = 1, rabbitmq_address = 'amqp://u:SECRET@h/'",
            "1 SETTINGS nats_token = '[HIDDEN]', s3queue_x = 1, rabbitmq_address = 'amqp://u:[HIDDEN]@h/'",
        ),
        (
            "1 SETTINGS disk = disk(type = 's3', secret_access_key = 'SECRET', key_hex = SECRET)",
            "1 SETTINGS disk = disk(type = 's3', secret_access_key = '[HIDDEN]', key_hex = '[HIDDEN]')",
        ),
        ("text(tokenizer = 'ngrams', key = 'a')", "text(tokenizer = 'ngrams', key = 'a')"),
        ("1 /* SECRET */ + -- SECRET\n 2", "1 + 2"),
        ("'a\nb'", "'a\\nb'"),
    ] {
        let masked = parse(&format!("CREATE VIEW v AS SELECT {text}")).masked();
        assert_eq!(masked, format!("ATTACH VIEW _ AS SELECT {hidden}"));
    }
}

#[test]
fn a_key_that_looks_like_a_format_shows_no_secret() {
    for key in ["rawdata", "autobackup", "orchestrator", "json-loader", "onetoken1", "formkey", "csv", "nosign", "Auto"]
    {
        for (call, shown) in [
            (format!("S3('u', '{key}', 'SECRET', 'CSV')"), format!("S3('u', '{key}', '[HIDDEN]', 'CSV')")),
            (format!("gcs('u', '{key}', 'SECRET')"), format!("gcs('u', '{key}', '[HIDDEN]')")),
            (format!("s3Cluster('c', 'u', '{key}', 'SECRET')"), format!("s3Cluster('c', 'u', '{key}', '[HIDDEN]')")),
            (format!("iceberg('u', '{key}', 'SECRET')"), format!("iceberg('u', '{key}', '[HIDDEN]')")),
            (
                format!("azureBlobStorage('u', 'c', 'b', '{key}', 'SECRET', 'CSV')"),
                format!("azureBlobStorage('u', 'c', 'b', '{key}', '[HIDDEN]', 'CSV')"),
            ),
            (format!("s3('u', 'id', 'SECRET', '{key}')"), "s3('u', 'id', '[HIDDEN]', '[HIDDEN]')".to_owned()),
        ] {
            let masked = parse(&format!("ATTACH VIEW _ AS SELECT * FROM {call}")).masked();
            assert_eq!(masked, format!("ATTACH VIEW _ AS SELECT * FROM {shown}"));
        }
    }
    for open in ["s3('u', 'Parquet', 'k UInt8')", "s3('u', 'auto', 'k UInt8')", "s3('u', NOSIGN, 'CSV')"] {
        let text = format!("ATTACH VIEW _ AS SELECT * FROM {open}");
        assert_eq!(parse(&text).masked(), text);
    }
}

#[test]
fn a_remote_table_whose_name_is_computed_shows_nothing_behind_it() {
    for name in ["currentDatabase()", "concat('d', '.t')", "'d' || '.t'", "(SELECT 'd')"] {
        for behind in ["'SECRET', 'SECRET'", "'t', 'u', 'SECRET'", "t, 'u', 'SECRET', rand()"] {
            let masked = parse(&format!("ATTACH VIEW _ AS SELECT * FROM remote('h', {name}, {behind})")).masked();
            assert!(!masked.contains("SECRET") && !masked.contains("'u'"), "{masked}");
        }
    }
    let text = "ATTACH VIEW _ AS SELECT * FROM remoteSecure('h', db.t, 'u', 'SECRET')";
    assert_eq!(parse(text).masked(), text.replace("SECRET", "[HIDDEN]"));
}

#[test]
fn databases_and_queries_within_dictionaries_hide_their_secrets() {
    let masked = |text: &str| parse(text).masked();
    assert_eq!(
        masked("ATTACH DATABASE dpg\nENGINE = PostgreSQL('localhost:1', 'db', 'u', 'dbpw')"),
        "ATTACH DATABASE _ ENGINE = PostgreSQL('localhost:1', 'db', 'u', '[HIDDEN]')"
    );
    let dictionary = parse(
        "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(PASSWORD 123 \
         QUERY 'SELECT * FROM mysql(\\'h\\', \\'d\\', \\'t\\', \\'u\\', \\'SECRET\\')')) LAYOUT(FLAT())",
    );
    assert_eq!(dictionary.secrets(), ["123", "SECRET"]);
    assert!(dictionary.masked().contains(
        "PASSWORD '[HIDDEN]' QUERY 'SELECT * FROM mysql(\\'h\\', \\'d\\', \\'t\\', \\'u\\', \\'[HIDDEN]\\')'"
    ));
}

#[test]
fn hidden_secrets_are_noticed_in_and_out_of_quotes() {
    for (text, is_hidden) in [
        ("SELECT '[HIDDEN]'", true),
        ("SELECT 'http://u:[HIDDEN]@h'", true),
        ("SELECT f([HIDDEN])", true),
        ("SELECT [hidden_column], 'HIDDEN'", false),
    ] {
        assert_eq!(parse(&format!("CREATE VIEW v AS {text}")).has_hidden_secret(), is_hidden, "{text}");
    }
    let statement = sample("my").statement(Verb::Create, "x", (None, None), &Mapping::default());
    assert!(statement.contains("'mypw'"), "a statement that is run has its secrets");
}
