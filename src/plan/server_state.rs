//! The places of a server's state besides tables: functions, users, named collections, workloads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::server_config::ServerConfig;

/// A storage in which a server keeps users, roles and related entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDirectory {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its location: a directory or a file, or a path in Keeper.
    pub path: Option<String>,
}

/// The places of a server's state, as the server reports them.
#[derive(Clone, Copy, Debug)]
pub struct StateSources<'a> {
    /// The server's own path.
    pub data_path: &'a Path,
    /// Its settings (`system.server_settings`), if it lists them.
    pub settings: &'a BTreeMap<String, String>,
    /// Its configuration, if readable here.
    pub config: &'a ServerConfig,
    /// Its storages of users, if it lists them.
    pub user_directories: &'a [UserDirectory],
}

/// The kind of objects in Keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InKeeper {
    /// Users, roles … of this storage.
    Access {
        /// The name of the storage.
        storage: String,
    },
    /// Named collections.
    NamedCollections,
    /// Functions created with `CREATE FUNCTION`.
    Functions,
    /// Workloads and resources.
    Workloads,
}

/// The places of a server's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatePlaces {
    /// Directories of statements, as the server sees them, each with its directory in the snapshot.
    pub directories: Vec<(&'static str, PathBuf)>,
    /// Objects in Keeper, with their path there, if known.
    pub in_keeper: Vec<(InKeeper, Option<String>)>,
    /// Files that describe executable functions, by directory and glob.
    pub executable: Vec<(PathBuf, String)>,
    /// The directory of their scripts.
    pub scripts: PathBuf,
}

/// The directory in which ClickHouse's packages put the configuration.
const CONFIG_DIRECTORY: &str = "/etc/clickhouse-server";

/// Determines where a server keeps its state. Default places apply if it does not report one.
#[must_use]
pub fn state_places(sources: StateSources<'_>) -> StatePlaces {
    let said = |key: &str| sources.config.get(key).or_else(|| Some(sources.settings.get(key)?.as_str()));
    let said = |key: &str| said(key).filter(|text| !text.is_empty());
    let directory = |path: &str| sources.data_path.join(path);
    let mut places = StatePlaces { scripts: directory("user_scripts"), ..StatePlaces::default() };
    if let Some(path) = said("user_scripts_path") {
        places.scripts = directory(path);
    }
    for (kept_as, at, in_keeper, what) in [
        ("user_defined", "user_defined_path", "user_defined_zookeeper_path", InKeeper::Functions),
        ("workload", "workload_path", "workload_zookeeper_path", InKeeper::Workloads),
    ] {
        match said(in_keeper) {
            Some(path) => places.in_keeper.push((what, Some(path.to_owned()))),
            None => places.directories.push((kept_as, directory(said(at).unwrap_or(kept_as)))),
        }
    }
    let storage = said("named_collections_storage.type").unwrap_or("local");
    if ["keeper", "zookeeper"].iter().any(|keeper| storage.starts_with(keeper)) {
        let path = said("named_collections_storage.path").map(str::to_owned);
        places.in_keeper.push((InKeeper::NamedCollections, path));
    } else {
        let path = said("named_collections_storage.path").unwrap_or("named_collections");
        places.directories.push(("named_collections", directory(path)));
    }
    for place in sources.user_directories {
        match place.kind.replace([' ', '.'], "_").as_str() {
            "local_directory" => {
                let path = place.path.as_deref().unwrap_or("access");
                places.directories.push(("access", directory(path)));
            }
            "replicated" => {
                let what = InKeeper::Access { storage: place.name.clone() };
                places.in_keeper.push((what, place.path.clone()));
            }
            _ => {}
        }
    }
    if !places.directories.iter().any(|(kept_as, _)| *kept_as == "access") {
        let configured = said("access_control_path").or_else(|| said("user_directories.local_directory.path"));
        places.directories.push(("access", directory(configured.unwrap_or("access"))));
    }
    if let Some(patterns) = said("user_defined_executable_functions_config") {
        let config_file = sources.settings.get("config-file").map(Path::new).and_then(Path::parent);
        for pattern in patterns.split(',').map(str::trim) {
            let path = config_file.unwrap_or(Path::new(CONFIG_DIRECTORY)).join(pattern);
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) {
                places.executable.push((parent.to_owned(), name.to_owned()));
            }
        }
    }
    if let Some(path) = said("dynamic_user_defined_executable_functions_path") {
        places.executable.push((directory(path), "*".to_owned()));
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{InKeeper, StatePlaces, StateSources, UserDirectory, state_places};
    use crate::plan::ServerConfig;

    fn places(settings: &[(&str, &str)], config: &str, user_directories: &[UserDirectory]) -> StatePlaces {
        let settings: BTreeMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        state_places(StateSources {
            data_path: Path::new("/ch"),
            settings: &settings,
            config: &ServerConfig::parse(config),
            user_directories,
        })
    }

    fn directory(places: &StatePlaces, kept_as: &str) -> Vec<PathBuf> {
        places.directories.iter().filter(|(name, _)| *name == kept_as).map(|(_, path)| path.clone()).collect()
    }

    fn user_directory(name: &str, kind: &str, path: &str) -> UserDirectory {
        UserDirectory { name: name.to_owned(), kind: kind.to_owned(), path: Some(path.to_owned()) }
    }

    #[test]
    fn paths_that_are_not_configured_are_below_the_data_path() {
        let places = places(&[], "", &[]);
        for name in ["user_defined", "workload", "named_collections", "access"] {
            assert_eq!(directory(&places, name), [Path::new("/ch").join(name)]);
        }
        assert!(places.in_keeper.is_empty() && places.executable.is_empty());
        assert_eq!(places.scripts, Path::new("/ch/user_scripts"));
    }

    #[test]
    fn other_paths_are_those_of_the_configuration_and_of_the_servers_lists() {
        let config = "<c><user_defined_path>/f/</user_defined_path><workload_path>w</workload_path>\
                      <named_collections_storage><path>/nc</path></named_collections_storage>\
                      <access_control_path>/not/this</access_control_path>\
                      <user_defined_executable_functions_config>*_function.*ml</user_defined_executable_functions_config>\
                      </c>";
        let directories = [
            user_directory("users_xml", "users_xml", "/etc/users.xml"),
            user_directory("one", "local directory", "/a/one"),
            user_directory("two", "local_directory", "two"),
        ];
        let settings = [("user_scripts_path", "/s/"), ("config-file", "/conf/config.xml")];
        let places = places(&settings, config, &directories);
        assert_eq!(directory(&places, "user_defined"), [Path::new("/f")]);
        assert_eq!(directory(&places, "workload"), [Path::new("/ch/w")]);
        assert_eq!(directory(&places, "named_collections"), [Path::new("/nc")]);
        assert_eq!(directory(&places, "access"), [Path::new("/a/one"), Path::new("/ch/two")]);
        assert_eq!(places.executable, [(PathBuf::from("/conf"), "*_function.*ml".to_owned())]);
        assert_eq!(places.scripts, Path::new("/s"));
    }

    #[test]
    fn objects_in_keeper_are_in_no_directory() {
        let config = "<c><user_defined_zookeeper_path>/k/f</user_defined_zookeeper_path>\
                      <workload_zookeeper_path>/k/w</workload_zookeeper_path></c>";
        let places = places(
            &[("named_collections_storage.type", "keeper_encrypted")],
            config,
            &[user_directory("shared", "replicated", "/k/a")],
        );
        let at = |path: &str| Some(path.to_owned());
        let access = InKeeper::Access { storage: "shared".to_owned() };
        assert_eq!(
            places.in_keeper,
            [
                (InKeeper::Functions, at("/k/f")),
                (InKeeper::Workloads, at("/k/w")),
                (InKeeper::NamedCollections, None),
                (access, at("/k/a")),
            ]
        );
        assert_eq!(directory(&places, "user_defined"), [] as [PathBuf; 0]);
    }
}
