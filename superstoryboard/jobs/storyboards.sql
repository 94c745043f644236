-- name: set_owner_rules
select superstoryboard.set_owner_rules_v1(
  superstoryboard.full_name(%(kv_table)s), %(fields)s::text[], %(claims)s::text[], %(shared)s::text[],
  %(anonymous_users)s);

-- name: storyboard
select * from superstoryboard.storyboard_v1(%(storyboard)s, %(names)s::text[]);

-- name: share_storyboard
select superstoryboard.share_storyboard_v1(%(storyboard)s, %(names)s::text[], %(member)s, %(role)s::text) as reason;

-- name: transfer_storyboard
select superstoryboard.transfer_storyboard_v1(%(storyboard)s, %(owner)s) as reason;
