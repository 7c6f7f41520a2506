package brokertest_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels/brokertest"
)

// flawEnv has the flaw of the engine that TestFlawed runs on, in a process of its own.
const flawEnv = "BROKERTEST_FLAW"

// Each flaw of a node, and a promise that it breaks. What the flaw does is in
// flaws_test.go, or where the node asks for its name.
var flawed = []struct{ flaw, breaks string }{
	{"has no mailboxes", "Capabilities/ItHasAllThatFeaturesDoesNotSayItLacks"},
	{"drops a message", "Order/EveryNodeGetsEachMessageOnceAndSoDoesItsOrigin"},
	{"delivers a message twice", "Order/EveryNodeGetsEachMessageOnceAndSoDoesItsOrigin"},
	{"delivers nothing to the origin", "Order/EveryNodeGetsEachMessageOnceAndSoDoesItsOrigin"},
	{"reorders", "Order/OneOrderForAllNodesAndTheHistoryUnderConcurrentPublishers"},
	{"delivers concurrently", "Order/EveryNodeGetsEachMessageOnceAndSoDoesItsOrigin"},
	{"leaves holes", "Order/PlacesAreGivenAlsoIfNobodyListens"},
	{"starts at 0", "Order/PlacesAreGivenAlsoIfNobodyListens"},
	{"has one order for all groups", "Order/EachGroupHasAnOrderOfItsOwn"},
	{"has an old position", "Order/PositionIsTheSameOnAllNodesAndUpToDate"},
	{"has a history that lags", "Order/WhoSubscribesAtFullSpeedMissesNothingThatIsNotInTheHistory"},
	{"cuts payloads at a zero byte", "Payload/PayloadsOfEveryByteArriveAsTheyWere"},
	{"refuses large payloads", "Payload/EmptyAndLargePayloadsArriveAsTheyWere"},
	{"forgets Except", "Payload/IDsTypesTimesAndExceptArriveAsTheyWere"},
	{"rounds times", "Payload/IDsTypesTimesAndExceptArriveAsTheyWere"},
	{"forgets Saved", "Payload/IDsTypesTimesAndExceptArriveAsTheyWere"},
	{"does not set Saved", "Payload/ThePublicationOfTheCallerIsSetAndNothingElseOfIt"},
	{"folds the case of names", "Names/GroupsWithAnyNameAreKeptApart"},
	{"folds the case of names", "Names/UsersWithAnyNameAreKeptApart"},
	{"folds the case of names", "Names/AddressesWithAnyNameAreKeptApart"},
	{"folds the case of names", "Names/GroupsWithAnyNameHaveTheirOwnPresence"},
	{"takes * for a pattern when it flushes", "Names/GroupsWithAnyNameAreKeptApart"},
	{"subscribes later", "Subscribe/WhatIsPublishedAfterSubscribeHasReturnedComes"},
	{"counts subscriptions", "Subscribe/SubscribingTwiceIsSubscribingOnce"},
	{"delivers to who has unsubscribed", "Subscribe/AfterUnsubscribeNothingMoreComes"},
	{"unsubscribes all of a node", "Subscribe/AfterUnsubscribeNothingMoreComes"},
	{"keeps the engine's subscription", "Subscribe/TheEngineForgetsAGroupWithItsLastSubscriber"},
	{"ignores contexts", "Context/ACallWithAContextThatHasEndedDoesNothing"},
	{"saves everything", "History/OnlyWhatWasToBeSavedIsKeptAndOnAllNodes"},
	{"returns the oldest as last", "History/LastAndSinceSelect"},
	{"includes After", "History/AfterAPositionComesWhatWasSavedLater"},
	{"is always complete", "History/AfterAnotherEpochOrTheFutureComesAllAndItIsNotComplete"},
	{"is always complete", "History/FlushForgetsTheNamedGroups"},
	{"is always complete", "Limits/NoMoreMessagesThanLenAreKept"},
	{"flushes all", "History/FlushForgetsTheNamedGroups"},
	{"flushes nothing without names", "History/FlushWithoutNamesForgetsAllGroups"},
	{"keeps one more", "Limits/NoMoreMessagesThanLenAreKept"},
	{"keeps one byte more", "Limits/NoMoreBytesThanBytesAreKept"},
	{"keeps one byte more", "Limits/AMessageThatAloneIsOverBytesIsDeliveredAndNotSaved"},
	{"keeps messages longer", "Limits/NothingOlderThanTTLIsKept"},
	{"keeps more for a moment", "Limits/NoReaderEverSeesMoreThanTheLimits"},
	{"hears twice", "Requests/ARequestReachesEveryListenerOnceAndOneAnswerComesBack"},
	{"asks one listener", "Requests/ARequestReachesEveryListenerOnceAndOneAnswerComesBack"},
	{"waits for somebody", "Requests/ARequestToNobodySaysSoAtOnce"},
	{"hears after Unlisten", "Requests/AfterUnlistenNothingMoreIsHeard"},
	{"leaves requests to who has gone unanswered", "Requests/ARequestThatFindsItsListenerGoneIsNobodys"},
	{"takes nobody for an answer that counts", "Requests/ARequestThatFindsItsListenerGoneIsNobodys"},
	{"takes silence for nobody", "Requests/ASilentListenerIsAnUnknownOutcomeWhenTheContextEnds"},
	{"mixes answers up", "Requests/ConcurrentRequestsGetTheirOwnAnswers"},
	{"takes mail in the wrong order", "Mailboxes/MailIsTakenInOrderAndOnce"},
	{"leaves mail where it is", "Mailboxes/MailIsTakenInOrderAndOnce"},
	{"has no front", "Mailboxes/MailAtTheFrontComesBeforeTheRest"},
	{"keeps one byte more", "Mailboxes/WhereMailDoesNotFitTheOldestGoes"},
	{"refuses new mail when full", "Mailboxes/WhereMailDoesNotFitTheOldestGoes"},
	{"keeps messages longer", "Mailboxes/MailThatIsTooOldGoes"},
	{"takes mail in two steps", "Mailboxes/EachMessageIsReturnedToOneTaker"},
	{"has leases without an end", "Presence/ADeadNodeIsGoneWhenItsLeaseEnds"},
	{"has short leases", "Presence/ADeadNodeIsGoneWhenItsLeaseEnds"},
	{"does not renew", "Presence/ANodeThatRenewsStays"},
	{"does not forget who is gone", "Presence/AnEntryIsReplacedAndRemoved"},
	{"tells no other node who is there", "Presence/ChangesReachTheSubscribersOfTheGroupOnAllNodesOnceAndInOrder"},
	{"has one prefix", "Strangers/AnotherPrefixHasNothingToDoWithIt"},
	{"has one prefix", "Strangers/FlushingAllLeavesAnotherPrefixAlone"},
	{"ignores garbage", "Garbage/WhatNoBrokerWroteIsDroppedAndReportedOnce"},
	{"reports garbage twice", "Garbage/WhatNoBrokerWroteIsDroppedAndReportedOnce"},
	{"waits for the slowest", "Slow/ANodeThatIsSlowToTakeMessagesHoldsUpNoOther"},
	{"works after Close", "Close/AfterCloseAllCallsReturnErrClosed"},
	{"delivers after Close", "Close/ANodeThatClosesGetsNothingMoreAndTakesNothingFromOthers"},
	{"leaves a goroutine", "Close/TenNodesCloseAtOnceWhilePublishingAndLeaveNothing"},
	{"does not say that it was interrupted", "Cut/AfterABrokenConnectionEveryGroupIsInterruptedAndGoesOn"},
	{"forgets its subscriptions in an outage", "Cut/AfterABrokenConnectionEveryGroupIsInterruptedAndGoesOn"},
	{"reports an outage for each group", "Cut/AfterABrokenConnectionEveryGroupIsInterruptedAndGoesOn"},
	{"does not report an outage", "Cut/AfterABrokenConnectionEveryGroupIsInterruptedAndGoesOn"},
	{"does not notice that it is deaf", "Cut/AConnectionThatCarriesNothingMoreIsReplaced"},
	{"forgets its addresses in an outage", "Cut/AfterABrokenConnectionRequestsArriveAgain"},
	{"has errors of its own", "Outage/CallsWhileTheEngineIsAwaySayWhatIsKnownAndDoNothing"},
	{"needs the engine to unsubscribe", "Outage/CallsWhileTheEngineIsAwaySayWhatIsKnownAndDoNothing"},
	{"subscribes when it has failed to", "Outage/CallsWhileTheEngineIsAwaySayWhatIsKnownAndDoNothing"},
	{"forgets no group", "Outage/SubscriptionsComeBackExactlyThoseThatThereAre"},
	{"goes on in an old epoch", "Outage/DataComesBackOrTheEpochIsNew"},
	{"publishes again", "Outage/AMessageIsPublishedAsAWholeOrNotAtAllWhenTheEngineDies"},
	{"says that nothing was published", "Outage/AMessageIsPublishedAsAWholeOrNotAtAllWhenTheEngineDies"},
	{"does not close while the engine is away", "Outage/ABrokerClosesWhileTheEngineIsAway"},
	{"forgets Except", "Boxes/WhoIsExceptedOnAnotherNodeGetsNothing"},
	{"forgets its subscriptions in an outage", "OutageBoxes/MembersOfANodeThatWasCutOffMissNothingThatWasSaved"},
}

// Whatever a broker does wrong, Run fails, and so does the test of that very promise.
func TestRunFailsForEachFlaw(t *testing.T) {
	turns := make(chan struct{}, 8) // most of them wait in vain, most of the time
	var all sync.WaitGroup
	for _, f := range flawed {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			pattern := "^TestFlawed$/^" + strings.ReplaceAll(regexp.QuoteMeta(f.breaks), "/", "$/^") + "$"
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout", "30s", "-test.run", pattern)
			cmd.Env = append(os.Environ(), flawEnv+"="+f.flaw)
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil || !strings.Contains(string(out), "--- FAIL: TestFlawed/"+f.breaks):
				t.Errorf("a broker that %s passes %s: %v\n%s", f.flaw, f.breaks, err, out)
			case strings.Contains(string(out), "panic:") || strings.Contains(string(out), "DATA RACE"):
				t.Errorf("a broker that %s: %v\n%s", f.flaw, err, out)
			}
		})
	}
	all.Wait()
}

// Without a flaw it passes, with as little patience: what fails above does so for its flaw.
func TestFlawed(t *testing.T) {
	flaw, ok := os.LookupEnv(flawEnv)
	if !ok {
		t.Skip("for TestRunFailsForEachFlaw")
	}
	brokertest.SetPatience(2 * time.Second)
	e := newWireEngine(flaw != "goes on in an old epoch", flaw)
	runWire(t, e)
}
