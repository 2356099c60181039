"""How a worker gets its next trial: it claims a waiting one (`study.slots`), and a sampler suggests its knobs."""

import optuna
from optuna.trial import TrialState

from fer.seeding import seed_from
from study.evolution import EvolutionSampler
from study.leases import identity_of_process
from study.slots import discard, holders, slot_of
from study.storage import one_change_at_a_time, storage_of, trials_of


def claim(study: optuna.Study, sampler: str, seed: int) -> optuna.Trial | None:
    """Takes the next waiting trial for this process, or returns None when there is none left.

    The sampler is made anew for each trial, with a seed from the trial's number: a resumed study does not draw the
    same numbers again. One worker alone draws the same each time, but with `evolution`, which heeds what trials cost.
    """
    storage, study_id = storage_of(study)
    for waiting in storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,)):
        try:
            with one_change_at_a_time(storage):
                if not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                    continue
        except optuna.exceptions.UpdateFinishedTrialError:
            continue
        # A new study object sees the trials that other workers finished meanwhile.
        study = optuna.load_study(
            study_name=study.study_name, storage=storage, sampler=make_sampler(sampler, seed_from(seed, waiting.number))
        )
        trial = optuna.Trial(study, waiting._trial_id)
        trial.set_user_attr("worker", identity_of_process())
        holder = holders(trials_of(study)).get(slot_of(waiting))
        if holder is None or holder.number != waiting.number:  # another parent filled or withdrew the slot
            discard(study, waiting, "one too many", TrialState.RUNNING)
            continue
        return trial
    return None


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Returns a sampler by the name it has on the command line."""
    seed %= 2**32
    if name == "evolution":
        return EvolutionSampler(seed)
    if name == "qmc":
        # One sequence for all processes, which each trial's place is looked up in; the rest is drawn at random.
        return optuna.samplers.QMCSampler(
            seed=0, scramble=True, independent_sampler=optuna.samplers.RandomSampler(seed=seed)
        )
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)  # other workers' trials count as bad
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # A grid's points are all enqueued, so that its sampler is never asked.
    return optuna.samplers.RandomSampler(seed=seed)
