package tenancy

// A Role says what a member of a tenant may do there.
type Role string

// The roles, from the one that may most.
const (
	// RoleOwner may do everything, such as to delete the tenant and to name owners.
	// A tenant that has members has at least one owner.
	RoleOwner Role = "owner"
	// RoleAdmin manages members, keys, quotas and budgets.
	RoleAdmin Role = "admin"
	// RoleMember reads, and sends usage.
	RoleMember Role = "member"
	// RoleViewer reads.
	RoleViewer Role = "viewer"
)

// Roles lists the roles, from the one that may most.
func Roles() []Role { return []Role{RoleOwner, RoleAdmin, RoleMember, RoleViewer} }

// Known reports whether r is one of the roles.
func (r Role) Known() bool { return r.rank() > 0 }

func (r Role) rank() int {
	switch r {
	case RoleOwner:
		return 4
	case RoleAdmin:
		return 3
	case RoleMember:
		return 2
	case RoleViewer:
		return 1
	}
	return 0
}

// Permissions are what a member with this role may do.
func (r Role) Permissions() []Permission {
	switch r {
	case RoleOwner:
		return Permissions()
	case RoleAdmin:
		return []Permission{PermissionIngest, PermissionImport, PermissionRead, PermissionAdmin}
	case RoleMember:
		return []Permission{PermissionIngest, PermissionRead}
	case RoleViewer:
		return []Permission{PermissionRead}
	}
	return nil
}
