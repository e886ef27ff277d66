//! The methods by which a request is filled in: one for each field that has a default.

/// Writes `with_…` methods for fields of a type, each of which replaces the field's value and returns the rest as it was.
macro_rules! setters {
    ($type:ty { $($setter:ident => $field:ident: $value:ty,)* }) => {
        impl $type {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $value) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

pub(crate) use setters;
