"""Roles on PostgreSQL 15, which knows neither ADMIN OPTION for who creates a role nor MAINTAIN."""

from tests.integration.test_roles import *  # noqa: F403 - the same tests on another server
from tests.integration.test_roles_command import *  # noqa: F403
