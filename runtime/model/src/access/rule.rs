//! Whether a token may.

use super::permission::{Kind, Permission};
use super::role::Role;
use super::scope::{Scope, Target};

/// What a token grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What for.
    pub role: Role,
    /// How far.
    pub scope: Scope,
}

impl Grant {
    /// Everything everywhere: that of an administrator, and of anyone while no
    /// token exists.
    pub const ALL: Self = Self {
        role: Role::Admin,
        scope: Scope::Everything,
    };
}

/// Why not, and who may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The role is too weak.
    #[error("{permission} needs the role {needs}; this token is a {has}'s")]
    Role {
        /// What was needed.
        permission: Permission,
        /// The least role that has it.
        needs: Role,
        /// The token's role.
        has: Role,
    },
    /// The target is out of reach.
    #[error("{permission} on {target} needs a token that covers it; this one covers {scope}")]
    Scope {
        /// What was needed.
        permission: Permission,
        /// What the request concerns, in words.
        target: String,
        /// How far the token reaches, in words.
        scope: String,
    },
}

/// The rule: the role has the permission, and the scope covers the target. Only a
/// node's token may join, and it may nothing else.
pub fn may(grant: &Grant, permission: Permission, target: &Target) -> Result<(), Denied> {
    let needs = permission.needs();
    let joins = permission.kind() == Kind::Join;
    if grant.role < needs || (joins && grant.role != needs) {
        let has = grant.role;
        return Err(Denied::Role {
            permission,
            needs,
            has,
        });
    }
    if !grant.scope.covers(target) {
        return Err(Denied::Scope {
            permission,
            target: target.to_string(),
            scope: grant.scope.to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::{GroupName, ResourceName};
    use crate::path::WorkspacePath;

    fn group() -> impl Strategy<Value = GroupName> {
        prop::sample::select(vec!["lab", "LAB", "ops", "x.y"])
            .prop_map(|text| GroupName::new(text).unwrap())
    }

    fn workspace() -> impl Strategy<Value = WorkspacePath> {
        let name = prop::sample::select(vec!["ws", "Ws", "other"])
            .prop_map(|text| ResourceName::new(text).unwrap());
        (group(), name).prop_map(|(group, workspace)| WorkspacePath { group, workspace })
    }

    fn scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            Just(Scope::Everything),
            group().prop_map(Scope::Group),
            workspace().prop_map(Scope::Workspace),
        ]
    }

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            Just(Target::Shared),
            Just(Target::Installation),
            group().prop_map(Target::Group),
            group().prop_map(Target::WithinGroup),
            workspace().prop_map(Target::Workspace),
        ]
    }

    fn role() -> impl Strategy<Value = Role> {
        prop::sample::select(Role::ALL.to_vec())
    }

    fn permission() -> impl Strategy<Value = Permission> {
        prop::sample::select(Permission::ALL.to_vec())
    }

    /// The group that a target lies in, if it lies in one.
    fn group_of(target: &Target) -> Option<GroupName> {
        match target {
            Target::Shared | Target::Installation => None,
            Target::Group(group) | Target::WithinGroup(group) => Some(group.clone()),
            Target::Workspace(path) => Some(path.group.clone()),
        }
    }

    proptest! {
        #[test]
        fn a_reader_can_never_change_anything(scope in scope(), permission in permission(), target in target()) {
            let grant = Grant { role: Role::Reader, scope };
            if permission.kind() != Kind::Read {
                prop_assert!(may(&grant, permission, &target).is_err());
            }
        }

        #[test]
        fn only_administrators_administer(role in role(), scope in scope(), permission in permission(), target in target()) {
            let allowed = may(&Grant { role, scope }, permission, &target).is_ok();
            if permission.kind() == Kind::Administer && allowed {
                prop_assert_eq!(role, Role::Admin);
            }
        }

        #[test]
        fn a_scoped_token_never_leaves_its_group(role in role(), own in group(), permission in permission(), target in target()) {
            let allowed = may(&Grant { role, scope: Scope::Group(own.clone()) }, permission, &target).is_ok();
            if allowed && target != Target::Shared {
                prop_assert_eq!(group_of(&target), Some(own));
            }
        }

        #[test]
        fn a_token_of_one_workspace_touches_that_workspace_only(
            role in role(), own in workspace(), permission in permission(), target in target(),
        ) {
            let allowed = may(&Grant { role, scope: Scope::Workspace(own.clone()) }, permission, &target).is_ok();
            match target {
                Target::Shared => {}
                Target::WithinGroup(group) => prop_assert!(!allowed || group == own.group),
                Target::Workspace(path) => prop_assert!(!allowed || path == own),
                Target::Installation | Target::Group(_) => prop_assert!(!allowed),
            }
        }

        #[test]
        fn a_stronger_role_and_a_wider_scope_lose_nothing(
            role in role(), scope in scope(), permission in permission(), target in target(),
        ) {
            if may(&Grant { role, scope: scope.clone() }, permission, &target).is_ok() {
                let stronger = Grant { role: Role::Admin, scope };
                prop_assert!(may(&stronger, permission, &target).is_ok());
                let wider = Grant { role, scope: Scope::Everything };
                prop_assert!(may(&wider, permission, &target).is_ok());
            }
        }

        #[test]
        fn what_a_scope_contains_reaches_no_further(outer in scope(), inner in scope(), target in target()) {
            if outer.contains(&inner) && inner.covers(&target) {
                prop_assert!(outer.covers(&target));
            }
        }
    }

    #[test]
    fn a_machine_joins_and_does_nothing_else() {
        let node = Grant {
            role: Role::Node,
            scope: Scope::Everything,
        };
        for permission in Permission::ALL {
            let joins = *permission == Permission::NodesJoin;
            for target in [Target::Shared, Target::Installation] {
                assert_eq!(
                    may(&node, *permission, &target).is_ok(),
                    joins,
                    "{permission}"
                );
            }
        }
        for role in Role::ALL {
            let grant = Grant {
                role,
                scope: Scope::Everything,
            };
            assert!(may(&grant, Permission::NodesJoin, &Target::Installation).is_err());
        }
    }

    #[test]
    fn a_refusal_says_who_may() {
        let lab = Grant {
            role: Role::Reader,
            scope: Scope::Group(GroupName::new("lab").unwrap()),
        };
        let target = Target::Group(GroupName::new("ops").unwrap());
        let denied = may(&lab, Permission::JobsWrite, &target).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "workspaces/experiments/jobs/write needs the role contributor; this token is a reader's"
        );
        let denied = may(&lab, Permission::GroupsRead, &target).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "groups/read on group ops needs a token that covers it; this one covers group lab"
        );
    }
}
