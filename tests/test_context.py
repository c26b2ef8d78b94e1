import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.context import AppContext, Channels
from chalicelib.domain.events.message import Metric
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import AbsentError, SettingsError, TransientError
from tests.fakes.journal import FakeJournal
from tests.fakes.moto_aws import mock_aws
from tests.test_settings import ENOUGH, Settings

ROOT = Path(__file__).parent.parent


def test_a_channel_is_made_when_it_is_first_used_and_then_kept():
    made = []

    def make():
        made.append(1)
        return SimpleNamespace(name="slack")

    channels = Channels({"slack": make}, FakeJournal())
    assert "slack" in channels
    assert (list(channels), len(channels), made) == (["slack"], 1, [])
    assert channels["slack"] is channels["slack"]
    assert made == [1]
    assert "sns" not in channels


def test_what_a_channel_does_not_take_is_counted_for_it_and_raised_all_the_same():
    def refuse(alert):
        raise TransientError("Slack is down")

    journal = FakeJournal()
    channels = Channels({"slack": lambda: SimpleNamespace(name="slack", send=refuse)}, journal)
    for _ in range(2):
        with pytest.raises(TransientError, match="Slack is down"):
            channels["slack"].send(None)
    assert journal.counted == {(Metric.CHANNEL_FAILURES, "slack"): 2}


def test_a_topic_that_is_set_up_wrongly_stops_its_own_alerts_and_nothing_else():
    settings = Settings.from_env(ENOUGH | {"LAZARETTO_TOPIC_ARN": "no arn at all"})
    context = AppContext(settings, Sessions("us-east-1"))
    assert "sns" in context.channels
    with pytest.raises(SettingsError):
        context.channels["sns"]


def test_only_channels_that_are_set_up_are_there():
    assert list(AppContext(Settings.from_env(ENOUGH)).channels) == []


OTHER, ROLE = "444455556666", "arn:aws:iam::444455556666:role/lazaretto-spoke"


def asking(settings):
    """A context in one Region, and the calls it makes."""
    sessions, calls = Sessions("us-east-1"), []
    sessions.session.events.register("before-parameter-build", lambda model, **_: calls.append(model.name))
    return AppContext(Settings.from_env(ENOUGH | settings), sessions), calls


def ask_of(context, account):
    home = Repository(account, "us-east-1", "team/api")
    context.inventory.repositories(RegistryPlace("us-east-1"))
    context.scans.configuration(home)
    for adapter in (context.keeper, context.inventory):
        assert adapter.images(home).absent
    with pytest.raises(AbsentError):
        context.registry.describe_image(home.image(f"sha256:{1:064x}"))
    with pytest.raises(AbsentError):
        context.acts.read_policy(home)


def test_an_installation_in_one_account_never_asks_who_it_is():
    with mock_aws():
        context, calls = asking({})
        ask_of(context, "123456789012")
        assert not {"GetCallerIdentity", "AssumeRole"} & {*calls}
        watching, calls = asking({"LAZARETTO_ACCOUNT_ROLES": ROLE, "LAZARETTO_REGISTRIES": f"{OTHER}/us-east-1"})
        ask_of(watching, "123456789012")
        assert not {"GetCallerIdentity", "AssumeRole"} & {*calls}, "nothing was asked of the other account yet"
        for _ in range(2):
            ask_of(watching, OTHER)
        assert [calls.count(name) for name in ("GetCallerIdentity", "AssumeRole")] == [1, 1]


def test_the_clients_of_another_account_have_its_credentials_in_every_adapter():
    def key(client):
        return client._request_signer._credentials.access_key

    with mock_aws():
        context, _ = asking({"LAZARETTO_ACCOUNT_ROLES": ROLE})
        for service in ("ecr", "inspector2"):
            client_of = context._clients(service, swept=True)
            own = key(context.sessions.client(service))
            assert key(client_of(None, "eu-west-1")) == key(client_of("777788889999", "eu-west-1")) == own
            assert key(client_of(OTHER, "eu-west-1")) != own
        assert key(context._inspectors()(OTHER, "eu-west-1")) != own
        delegated, calls = asking({"LAZARETTO_ACCOUNT_ROLES": ROLE, "LAZARETTO_INSPECTOR": "delegated"})
        assert key(delegated._inspectors()(OTHER, "eu-west-1")) == own
        assert calls == []


def test_our_own_registry_is_the_first_of_those_that_are_watched():
    context, _ = asking({"LAZARETTO_ACCOUNT_ROLES": ROLE, "LAZARETTO_REGISTRIES": f"eu-west-1,{OTHER}/us-east-1"})
    assert list(map(str, context.registries)) == ["us-east-1", "eu-west-1", f"{OTHER}/us-east-1"]


def test_a_cold_start_loads_nothing_that_only_some_functions_use():
    names = (
        "adapters.ecr.registry adapters.ecr.keeper adapters.ecr.settings adapters.usage.runtime adapters.usage.ecs_use "
        "adapters.usage.eks_use adapters.usage.lambda_use adapters.stores.what_if_items adapters.stores.policy_file "
        "adapters.channels.slack services.handlers.receive_acts services.handlers.receive_sweeps "
        "services.enforcement.enforce_verdict services.enforcement.give_order "
        "services.enforcement.undo_action services.retention.plan_retention services.retention.apply_retention "
        "services.reconcile.reconcile_registry services.admission.admit_images"
    )
    for_some = {f"chalicelib.{name}" for name in names.split()}
    assert not [name for name in for_some if find_spec(name) is None]
    asked = "import sys, app; print(*sys.modules)"
    loaded = fresh(asked)
    assert "chalicelib.context" in loaded
    assert not (for_some | {"yaml", "cachetools", "cyclonedx", "difflib"}) & set(loaded)


def test_what_a_cold_start_loads_is_never_searched_for_garbage():
    asked = "import gc, app; print(gc.isenabled(), gc.get_freeze_count() > 10_000, len(gc.get_objects()) < 1_000)"
    assert fresh(asked) == ["True", "True", "True"]


def fresh(program):
    """What a new interpreter prints, word by word."""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.split()


def test_a_deny_of_ours_leaves_out_the_roles_by_which_we_act_elsewhere():
    ours = "arn:aws:iam::111122223333:role/on-actions"
    context, _ = asking({"LAZARETTO_ROLE_ARNS": ours, "LAZARETTO_ACCOUNT_ROLES": ROLE})
    assert context.own_roles == (ours, ROLE)


def test_a_cursor_secret_that_was_rotated_is_known_after_five_minutes(monkeypatch):
    with mock_aws():
        sessions = Sessions("us-east-1")
        secrets = sessions.client("secretsmanager")
        arn = secrets.create_secret(Name="cursor", SecretString="old")["ARN"]
        named = {"LAZARETTO_CURSOR_SECRETS": "", "LAZARETTO_CURSOR_SECRET": arn}
        context = AppContext(Settings.from_env(ENOUGH | named), sessions)
        assert context.cursor_secrets == ("old",)
        secrets.put_secret_value(SecretId=arn, SecretString="new,old")
        assert context.cursor_secrets == ("old",)
        context._cursor_secret._clock = lambda: float("inf")
        assert context.cursor_secrets == ("new", "old")
        secrets.put_secret_value(SecretId=arn, SecretString=",")
        context._cursor_secret.forget()
        with pytest.raises(SettingsError):
            _ = context.cursor_secrets
