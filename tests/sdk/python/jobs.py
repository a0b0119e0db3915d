"""Jobs: every field, each state, termination, deletion. Usage: jobs.py URL"""

import datetime

from common import (EXPERIMENT, GROUP, WORKSPACE, furnish, get_job, job_parameters, models, ok,
                    output_files, prefix, read_file, refused, run, submit, wait_for_state)

SEVEN_DAYS = datetime.timedelta(days=7)


def main(client):
    cluster = furnish(client)
    everything(client, cluster.id)
    states(client, cluster.id)
    priorities(client, cluster.id)
    limits(client, cluster.id)
    again(client, cluster.id)
    return 0


def everything(client, cluster):
    parameters = job_parameters(
        cluster, 'echo "$GREETING" from $AZ_BATCHAI_INPUT_DATA; echo model > $AZ_BATCHAI_OUTPUT_MODEL/m',
        scheduling_priority="high",
        job_preparation=models.JobPreparation(command_line="echo prepared $GREETING"),
        input_directories=[models.InputDirectory(id="DATA", path="$AZ_BATCHAI_MOUNT_ROOT/data")],
        output_directories=[models.OutputDirectory(
            id="MODEL", path_prefix="$AZ_BATCHAI_MOUNT_ROOT/logs", path_suffix="models")],
        environment_variables=[models.EnvironmentVariable(name="GREETING", value="hello")],
        constraints=models.JobBasePropertiesConstraints(
            max_wall_clock_time=datetime.timedelta(hours=1)))
    job = submit(client, "everything", parameters)
    assert job.id == f"{prefix()}/experiments/{EXPERIMENT}/jobs/everything", job.id
    assert job.type == "Microsoft.BatchAI/workspaces/experiments/jobs"
    assert job.execution_state == "queued" and job.execution_info is None
    assert (job.tool_type, job.scheduling_priority, job.node_count) == ("custom", "high", 1)
    assert job.constraints.max_wall_clock_time == datetime.timedelta(hours=1)
    assert job.provisioning_state == "succeeded" and job.creation_time
    ok("a job is accepted at once and queued")

    done = wait_for_state(client, "everything", "succeeded", "failed")
    assert done.execution_state == "succeeded", done.execution_info.errors
    info = done.execution_info
    assert info.exit_code == 0 and info.start_time <= info.end_time and not info.errors
    segment = done.job_output_directory_path_segment
    assert segment.startswith(
        f"{prefix().split('/')[2]}/{GROUP}/workspaces/{WORKSPACE}/experiments/{EXPERIMENT}/jobs/everything/")
    assert "hello from /" in read_file(client, "everything", "stdout.txt")
    assert "prepared hello" in read_file(client, "everything", "stdout-job_prep.txt")
    assert read_file(client, "everything", "m", "MODEL") == "model\n"
    names = {file.name for file in output_files(client, "everything")}
    assert {"execution.log", "stdout.txt", "stderr.txt", "stdout-job_prep.txt",
            "stderr-job_prep.txt"} <= names, names
    ok("a job with every member succeeds, with its files where they belong")


def states(client, cluster):
    submit(client, "bad", job_parameters(cluster, "echo it broke >&2; exit 7"))
    bad = wait_for_state(client, "bad", "failed")
    error = bad.execution_info.errors[0]
    assert bad.execution_info.exit_code == 7
    assert (error.code, error.message) == ("JobFailed", "Job failed with non-zero exit code")
    details = {detail.name: detail.value for detail in error.details}
    assert any("it broke" in value for value in details.values()), details
    ok("a failed job says its exit code, where it failed and its last words")

    submit(client, "unprepared", job_parameters(
        cluster, job_preparation=models.JobPreparation(command_line="exit 3")))
    unprepared = wait_for_state(client, "unprepared", "failed")
    assert unprepared.execution_info.exit_code == 3
    assert unprepared.execution_info.errors[0].code == "JobPreparationFailed"
    ok("a failed preparation fails the job with its exit code")

    submit(client, "endless", job_parameters(cluster, "sleep 1000"))
    running = wait_for_state(client, "endless", "running")
    assert running.execution_info.start_time and running.execution_info.end_time is None
    submit(client, "second", job_parameters(cluster))
    assert get_job(client, "second").execution_state == "queued"
    ok("a job runs, and one behind it waits")

    client.jobs.terminate(GROUP, WORKSPACE, EXPERIMENT, "endless").result()
    terminated = get_job(client, "endless")
    assert terminated.execution_state == "failed"
    assert terminated.execution_info.exit_code is None
    error = terminated.execution_info.errors[0]
    assert error.code == "JobTerminated", error.code
    assert error.message == "The specified job has been terminated by the user"
    client.jobs.terminate(GROUP, WORKSPACE, EXPERIMENT, "endless").result()
    assert get_job(client, "endless").execution_info.end_time == terminated.execution_info.end_time
    ok("termination ends a job without an exit code, and a second one changes nothing")

    wait_for_state(client, "second", "succeeded")
    submit(client, "blocker", job_parameters(cluster, "sleep 1000"))
    wait_for_state(client, "blocker", "running")
    submit(client, "waiting", job_parameters(cluster))
    client.jobs.terminate(GROUP, WORKSPACE, EXPERIMENT, "waiting").result()
    waiting = get_job(client, "waiting")
    assert waiting.execution_state == "failed" and waiting.execution_info.start_time
    ok("a queued job is terminated where it stands")

    client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "blocker").result()
    refused(lambda: get_job(client, "blocker"), 404, "JobNotFound")
    client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "blocker").result()
    ok("a running job is deleted, once or twice")


def priorities(client, cluster):
    submit(client, "front", job_parameters(cluster, "sleep 1000"))
    wait_for_state(client, "front", "running")
    for name in ("low", "normal", "high"):
        submit(client, f"p-{name}", job_parameters(cluster, scheduling_priority=name))
    client.jobs.terminate(GROUP, WORKSPACE, EXPERIMENT, "front").result()
    starts = [wait_for_state(client, f"p-{name}", "succeeded").execution_info.start_time
              for name in ("high", "normal", "low")]
    assert starts == sorted(starts), starts
    ok("jobs start by priority")


def limits(client, cluster):
    submit(client, "slow", job_parameters(
        cluster, "sleep 1000", constraints=models.JobBasePropertiesConstraints(
            max_wall_clock_time=datetime.timedelta(seconds=1))))
    slow = wait_for_state(client, "slow", "failed")
    assert slow.execution_info.errors[0].code == "JobExceededMaxWallClockTime"
    assert slow.execution_info.exit_code is None
    ok("a job that takes too long is ended and says so")

    client.jobs.create(GROUP, WORKSPACE, EXPERIMENT, "default", job_parameters(cluster)).result()
    default = get_job(client, "default")
    assert default.constraints.max_wall_clock_time == SEVEN_DAYS
    assert default.scheduling_priority == "normal"
    ok("defaults are filled in")


def again(client, cluster):
    first = wait_for_state(client, "default", "succeeded")
    same = submit(client, "default", job_parameters(cluster))
    assert same.creation_time == first.creation_time and same.execution_state == "succeeded"
    refused(lambda: submit(client, "default", job_parameters(cluster, "false")),
            409, "JobAlreadyExists")
    ok("the same PUT again is the same job, another one is refused")

    client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "default").result()
    fresh = submit(client, "default", job_parameters(cluster, "exit 4"))
    assert fresh.job_output_directory_path_segment != first.job_output_directory_path_segment
    assert wait_for_state(client, "default", "failed").execution_info.exit_code == 4
    ok("a deleted job's name can be used again, with output of its own")

    options = models.JobsListByExperimentOptions(max_results=2)
    names = [job.name for job in client.jobs.list_by_experiment(GROUP, WORKSPACE, EXPERIMENT, options)]
    assert names == sorted(names) and "default" in names and len(names) == len(set(names)) > 8
    ok("jobs are listed page by page")


if __name__ == "__main__":
    run(main)
