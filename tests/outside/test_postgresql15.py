"""The suites of queue, links, events, migrations and steering, as hosted Supabase runs them: on PostgreSQL 15."""

from tests.integration.test_accepts import *  # noqa: F403 - the same tests on another server
from tests.integration.test_calls import *  # noqa: F403
from tests.integration.test_events import *  # noqa: F403
from tests.integration.test_gates import *  # noqa: F403
from tests.integration.test_links import *  # noqa: F403
from tests.integration.test_migrations import *  # noqa: F403
from tests.integration.test_poison import *  # noqa: F403
from tests.integration.test_ranks import *  # noqa: F403
from tests.integration.test_removed_jobs import *  # noqa: F403
from tests.integration.test_retry import *  # noqa: F403
from tests.integration.test_role_attacks import *  # noqa: F403
from tests.integration.test_steering import *  # noqa: F403
from tests.integration.test_sweep import *  # noqa: F403
from tests.integration.test_sweep_history import *  # noqa: F403
from tests.integration.test_transitions import *  # noqa: F403
from tests.integration.test_turns import *  # noqa: F403
from tests.integration.test_worker_loop import *  # noqa: F403
